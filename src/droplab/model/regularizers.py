"""The regularizers, one entry each in one table: name, strengths, source, and what it touches.

Dropout has an entry of its own, since it has a setting of its own. What the functions of an entry are given and give
back is in `Regularizer`. `register` adds one of your own, from a file that `DROPLAB_PLUGINS` names, so that every
worker process has it. PyTorch is imported where it computes, so that what only names regularizers does without it.

R networks, B examples, U units of a layer or features, O outputs of a weight layer, I its inputs.
"""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from typing import TYPE_CHECKING, Any

from droplab.config import BY_LAYER
from droplab.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

    from droplab.model.network import Layer
    from droplab.model.noise import Noise

Strengths = tuple[float, ...]
"""Of a network, as settings have them: one for all layers, or one a layer."""

Values = tuple["Tensor", ...]
"""The same as functions are given them: tensors, one a layer where an entry may have one a layer."""

INPUT = 2**20
"""The place of noise on the features; that on hidden layers is at 0, 1, …"""


@dataclass(frozen=True)
class Regularizer:
    """A family of regularizers; each function is `None` where the family does not touch that part.

    Functions are tensor operations: no Python `if` or `math` on a strength, which is a tensor. Those of `TABLE` are for
    R networks at once, strengths of shape (R,). What is registered is written for one network: its tensors have a first
    dimension of 1, its strengths the shape (), and `register` makes functions of R networks of it.

    Attributes:
        name: in settings, in lower case.
        source: the paper.
        strength: what a study takes where none is given.
        most: the largest strength that makes sense; the smallest is 0, which is none at all.
        meaning: of the strength, in a few words.
        by_layer: how many strengths it may have beside one for all: `hidden` or `weights` layers' number, or none.
        on_input: (features as scaled, strengths, noise) → features; shape (R, B, U), in training and at inference with
            dropout on.
        on_hidden: (activations of a hidden layer, its number, strengths, noise) → activations; likewise.
        penalty: (weight layers, activations of each hidden layer, strengths) → what the loss has added, shape (R,); of
            one network ().
        smooth: (strength, classes) → the probability of the true class that the loss aims at, elementwise, shape (R,)
            in either case; where several do so, the last counts.
        on_gradient: (gradients of all that is trained, strengths) → gradients; without gradient.
        before_update: (weights in place, strengths, learning rate); without gradient.
        after_update: (weights in place, strengths); without gradient.
        drops: whether it sets units to 0 and the share kept may be made up for at inference.
    """

    name: str
    source: str
    strength: float
    most: float
    meaning: str
    by_layer: str = ""
    on_input: Callable[[Tensor, Values, Noise], Tensor] | None = None
    on_hidden: Callable[[Tensor, int, Values, Noise], Tensor] | None = None
    penalty: Callable[[Sequence[Layer], Sequence[Tensor], Values], Tensor] | None = None
    smooth: Callable[[Tensor, int], Tensor] | None = None
    on_gradient: Callable[[Sequence[Tensor], Values], Sequence[Tensor]] | None = None
    before_update: Callable[[Sequence[Layer], Values, Tensor], None] | None = None
    after_update: Callable[[Sequence[Layer], Values], None] | None = None
    drops: bool = False

    @property
    def is_noise(self) -> bool:
        """Whether it acts at inference, too, where dropout is left on."""
        return self.on_input is not None or self.on_hidden is not None


def strengths_of(value: float | Strengths) -> Strengths:
    """A strength for all layers, or one a layer, as a tuple."""
    return value if isinstance(value, tuple) else (value,)


def _drop(values: Tensor, rate: Tensor, place: int, noise: Noise) -> Tensor:
    return values * noise.mask(place, _wide(rate), values.shape[1], values.shape[2], values.dtype)


def _multiply(values: Tensor, rate: Tensor, place: int, noise: Noise) -> Tensor:
    """Times N(1, rate / (1 − rate)), the variance of dropout at that rate."""
    spread = (rate / (1 - rate)).sqrt()
    return values * (1 + _wide(spread) * noise.normal(place, values.shape[1], values.shape[2]))


def _shift(values: Tensor, deviation: Tensor, place: int, noise: Noise) -> Tensor:
    return values + _wide(deviation) * noise.normal(place, values.shape[1], values.shape[2])


def _wide(strength: Tensor) -> Tensor:
    """Of shape (R, 1, 1)."""
    return strength.view(-1, 1, 1)


def _l2(layers: Sequence[Layer], _: Sequence[Tensor], strengths: Values) -> Tensor:
    return _sum(each / 2 * w.square().sum(dim=(1, 2)) for each, (w, _) in zip(strengths, layers, strict=True))


def _l1(layers: Sequence[Layer], _: Sequence[Tensor], strengths: Values) -> Tensor:
    return _sum(each * w.abs().sum(dim=(1, 2)) for each, (w, _) in zip(strengths, layers, strict=True))


def _sum(parts: Iterable[Tensor]) -> Tensor:
    return reduce(add, parts)


def _decay(layers: Sequence[Layer], strengths: Values, learning_rate: Tensor) -> None:
    for each, layer in zip(strengths, layers, strict=True):
        layer.weight.mul_(_wide(1 - learning_rate * each))


def _clip(gradients: Sequence[Tensor], strengths: Values) -> Sequence[Tensor]:
    """As `torch.nn.utils.clip_grad_norm_` does."""
    import torch

    norm = _sum(gradient.flatten(1).square().sum(dim=1) for gradient in gradients).sqrt()
    most = torch.where(strengths[0] > 0, strengths[0], torch.inf)  # 0 is none
    factor = (most / (norm + 1e-6)).clamp_max(1)
    return [gradient * factor.view(-1, *[1] * (gradient.dim() - 1)) for gradient in gradients]


def _bound(layers: Sequence[Layer], strengths: Values) -> None:
    import torch

    for bound, layer in zip(strengths, layers, strict=True):
        norms = torch.linalg.vector_norm(layer.weight, dim=2, keepdim=True)
        most = torch.where(bound > 0, bound, torch.inf)  # 0 is none
        layer.weight.mul_((_wide(most) / norms.clamp_min(torch.finfo(norms.dtype).tiny)).clamp_max(1))


SPARSITY_TARGET = 0.05
"""The mean activation that KL-sparsity aims at, as in Ng's lecture notes."""


def _sparsity(_: Sequence[Layer], hidden: Sequence[Tensor], strengths: Values) -> Tensor:
    """KL(ρ ‖ ρ̂) summed over units; ρ̂ is a unit's mean over the batch of a / (1 + |a|).

    The papers have logistic units. This is the activation itself near ρ, and lies below 1 for units without bound, too.
    """
    parts = []
    for each, activations in zip(strengths, hidden, strict=True):
        mean = (activations / (1 + activations.abs())).mean(dim=1).clamp(1e-4, 1 - 1e-4)
        kl = SPARSITY_TARGET * (SPARSITY_TARGET / mean).log()
        kl = kl + (1 - SPARSITY_TARGET) * ((1 - SPARSITY_TARGET) / (1 - mean)).log()
        parts.append(each * kl.sum(dim=1))
    return _sum(parts)


DROPOUT = Regularizer(
    "dropout",
    "Srivastava et al. 2014",
    0.5,
    0.99,
    "share of the units that is dropped",
    "hidden",
    on_hidden=lambda h, k, s, noise: _drop(h, s[k], k, noise),
    drops=True,
)

_LAYERS = "weights"
_ENTRIES = (
    Regularizer(
        "input_dropout",
        "Srivastava et al. 2014",
        0.2,
        0.99,
        "share of the features that is dropped",
        on_input=lambda x, s, noise: _drop(x, s[0], INPUT, noise),
        drops=True,
    ),
    Regularizer(
        "gaussian_dropout",
        "Srivastava et al. 2014, section 10: activations times N(1, r / (1 − r))",
        0.5,
        0.99,
        "rate r of the dropout whose variance it has",
        "hidden",
        on_hidden=lambda h, k, s, noise: _multiply(h, s[k], k, noise),
    ),
    Regularizer(
        "input_gaussian_dropout",
        "Srivastava et al. 2014, section 10",
        0.2,
        0.99,
        "rate of the dropout whose variance it has",
        on_input=lambda x, s, noise: _multiply(x, s[0], INPUT, noise),
    ),
    Regularizer(
        "input_noise",
        "Sietsma & Dow 1991; Bishop 1995: features plus N(0, s²)",
        0.1,
        100,
        "standard deviation, of features as scaled",
        on_input=lambda x, s, noise: _shift(x, s[0], INPUT, noise),
    ),
    Regularizer(
        "hidden_noise",
        "Poole, Sohl-Dickstein & Ganguli 2014: hidden activations plus N(0, σ²)",
        0.1,
        100,
        "standard deviation",
        "hidden",
        on_hidden=lambda h, k, s, noise: _shift(h, s[k], k, noise),
    ),
    Regularizer("l2", "Krogh & Hertz 1992: λ/2 · Σw², biases free", 1e-4, 100, "λ", _LAYERS, penalty=_l2),
    Regularizer("l1", "Tibshirani 1996: λ · Σ|w|, biases free", 1e-5, 100, "λ", _LAYERS, penalty=_l1),
    Regularizer(
        "weight_decay",
        "Loshchilov & Hutter 2019: w ← w − rate · λ · w, apart from the gradient, biases free",
        1e-2,
        100,
        "λ",
        _LAYERS,
        before_update=_decay,
    ),
    Regularizer(
        "max_norm",
        "Srebro & Shraibman 2005; Srivastava et al. 2014: each unit's incoming weights have a norm of at most c",
        3.0,
        1e6,
        "c",
        _LAYERS,
        after_update=_bound,
    ),
    Regularizer(
        "gradient_clipping",
        "Pascanu, Mikolov & Bengio 2013: the gradient of a step has a norm of at most c",
        1.0,
        1e6,
        "c",
        on_gradient=_clip,
    ),
    Regularizer(
        "kl_sparsity",
        f"Lee et al. 2007; Ng 2011: β · Σ KL({SPARSITY_TARGET} ‖ mean activation)",
        1e-3,
        100,
        "β",
        "hidden",
        penalty=_sparsity,
    ),
    Regularizer(
        "label_smoothing",
        "Szegedy et al. 2016: the loss aims at 1 − ε + ε/C for the true class and ε/C for the others",
        0.1,
        0.99,
        "ε",
        smooth=lambda epsilon, classes: 1 - epsilon + epsilon / classes,
    ),
    Regularizer("batch_norm", "Ioffe & Szegedy 2015", 1, 1, "1: used", by_layer=""),
    Regularizer("early_stopping", "Prechelt 1998", 10, 1e6, "epochs without a lower loss on valid that are waited for"),
)

TABLE: dict[str, Regularizer] = {entry.name: entry for entry in _ENTRIES}
"""Every regularizer that there is, by name."""

_OWN = frozenset({*TABLE, DROPOUT.name, BY_LAYER})


def check(regularizers: Sequence[tuple[str, float | Strengths]], hidden_layers: int) -> None:
    """Check that regularizers are known, and their strengths possible for a network of so many hidden layers.

    Raises:
        ConfigError: naming the first fault.
    """
    for name, value in regularizers:
        if name not in TABLE:
            hint = did_you_mean(name, [*TABLE, "dropout"])
            raise ConfigError(f"a regularizer is one of {', '.join(TABLE)}; found {name!r}.{hint}")
        entry = TABLE[name]
        strengths = strengths_of(value)
        found = ", ".join(f"{strength:g}" for strength in strengths)
        if any(not 0 <= strength <= entry.most for strength in strengths):
            raise ConfigError(f"{name} ({entry.meaning}) must lie between 0 and {entry.most:g}; found {found}.")
        layers = {"hidden": hidden_layers, "weights": hidden_layers + 1}.get(entry.by_layer, 1)
        if len(strengths) not in (1, layers):
            what = f"or one for each of {layers} layers" if entry.by_layer else "and no more"
            raise ConfigError(f"{name} takes one strength {what}; found {len(strengths)}: {found}.")


def plugin_noise(names: Iterable[str]) -> tuple[str, ...]:
    """Those regularizers of a plugin that act at inference, too, where dropout is left on."""
    return tuple(name for name in names if name not in _OWN and TABLE[name].is_noise)


def register(entry: Regularizer) -> None:
    """Add a regularizer of your own, for settings to name.

    Raises:
        ConfigError: if droplab has one of that name.
    """
    if entry.name in _OWN:
        raise ConfigError(f"a regularizer's name must be its own; found a second {entry.name!r}. Choose another name.")
    TABLE[entry.name] = _for_many(entry)


def _for_many(entry: Regularizer) -> Regularizer:
    """The same with functions of R networks."""
    changed: dict[str, Any] = {}
    many = partial(_many, entry.name)
    if (on_input := entry.on_input) is not None:
        changed["on_input"] = lambda x, s, noise: many(
            lambda s, x, keys: on_input(x, s, noise._replace(keys=keys)), s, x, noise.keys
        ).view_as(x)
    if (on_hidden := entry.on_hidden) is not None:
        changed["on_hidden"] = lambda h, k, s, noise: many(
            lambda s, h, keys: on_hidden(h, k, s, noise._replace(keys=keys)), s, h, noise.keys
        ).view_as(h)
    if (penalty := entry.penalty) is not None:
        changed["penalty"] = lambda layers, hidden, s: many(
            lambda s, layers, hidden: penalty(layers, hidden, s), s, list(layers), list(hidden)
        ).view(-1)
    if (on_gradient := entry.on_gradient) is not None:
        changed["on_gradient"] = lambda gradients, s: many(
            lambda s, gradients: on_gradient(gradients, s), s, list(gradients)
        )
    if (before := entry.before_update) is not None:
        changed["before_update"] = lambda layers, s, rate: many(
            lambda s, layers, rate: (before(layers, s, rate.squeeze(0)), rate)[1], s, list(layers), rate
        )
    if (after := entry.after_update) is not None:
        changed["after_update"] = lambda layers, s: many(lambda s, layers: (after(layers, s), s[0])[1], s, list(layers))
    return replace(entry, **changed)


def _many(name: str, call: Callable[..., Any], strengths: Values, *parts: Any) -> Any:
    """Call what is written for one network for each of R, all at once.

    Args:
        name: whose function it is.
        call: takes the strengths of one network and its parts, of which R is 1.
        strengths: each of shape (R,).
        parts: tensors of which R is the first dimension, or lists and tuples of such.

    Raises:
        ConfigError: if it fails, as it does where it needs Python numbers of tensors.
    """
    import torch
    from torch.utils._pytree import tree_map

    try:
        if strengths[0].shape[0] == 1:
            return call(tuple(each.squeeze(0) for each in strengths), *parts)
        one = lambda s, *mine: call(s, *tree_map(lambda part: part.unsqueeze(0), mine))  # noqa: E731
        return torch.func.vmap(one)(strengths, *parts)
    except Exception as error:  # whatever a user's function may raise
        if any(words in str(error) for words in ("allocate memory", "out of memory")):  # smaller packs may fit
            raise
        raise ConfigError(
            f"what the regularizer {name} does must be tensor operations, without Python's if, float or math on a "
            f"strength or another tensor; found {type(error).__name__}: {str(error).partition('. ')[0]}."
        ) from error


def plugins() -> list[str]:
    """The files that `DROPLAB_PLUGINS` names."""
    return [name for name in os.environ.get("DROPLAB_PLUGINS", "").split(os.pathsep) if name]


def load_plugins() -> None:
    """Run the files that `DROPLAB_PLUGINS` names, with the system's path separator between; each registers its own.

    Raises:
        ConfigError: if one cannot be run.
    """
    for name in plugins():
        try:
            runpy.run_path(name)
        except ConfigError:
            raise
        except Exception as error:  # whatever a user's file may raise
            raise ConfigError(
                f"{name}: a plugin must be a Python file that registers regularizers; found "
                f"{type(error).__name__}: {error}."
            ) from None


load_plugins()
