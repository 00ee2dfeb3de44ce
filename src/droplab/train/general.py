"""The step of any network, by autograd: what `train_step` is to the fast one, for every setting that there is.

A network here is trained by itself: every tensor has a first dimension of 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from droplab.config import RunSettings
from droplab.model.families import strengths_of
from droplab.model.general import General, Norm, folded
from droplab.model.network import Layer
from droplab.model.noise import Noise, share_kept
from droplab.train.schedules import learning_rate_at, momentum_at

ADAM_EPSILON = 1e-8
"""What Adam adds to a root: PyTorch's."""

ADAMW_DECAY = 0.01
"""Weight decay of `adamw` where none is given: PyTorch's."""


@dataclass
class Extras:
    """What a training is made of beside weights and velocities.

    Attributes:
        norms: batch normalization of each hidden layer; empty without it.
        first: velocities, or Adam's first moments, in the order of `parameters`; empty for plain descent.
        second: Adam's second moments, likewise; empty without Adam.
        best: of early stopping, the network with the lowest loss on valid so far, as `kept_parts`; empty without it.
        watch: that loss, and the epochs done when it was seen, shape (2,), `float64`.
    """

    norms: list[Norm]
    first: list[Tensor]
    second: list[Tensor]
    best: list[Tensor]
    watch: Tensor

    @classmethod
    def initial(cls, settings: RunSettings, layers: Sequence[Layer]) -> Extras:
        """Before the first step."""
        norms = []
        if "batch_norm" in dict(settings.regularizers):
            for layer in layers[:-1]:
                ones = torch.ones_like(layer.bias)
                norms.append(Norm(ones, torch.zeros_like(ones), torch.zeros_like(ones), ones.clone()))
        moments = [torch.zeros_like(part) for part in parameters(layers, norms)]
        adam = settings.optimizer in ("adam", "adamw")
        moving = adam or settings.momentum > 0 or settings.momentum_schedule != "constant"
        stops = "early_stopping" in dict(settings.regularizers)
        return cls(
            norms,
            moments if moving else [],
            [part.clone() for part in moments] if adam else [],
            [part.clone() for part in kept_parts(layers, norms)] if stops else [],
            torch.tensor([torch.inf, 0.0], dtype=torch.float64),
        )

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name."""
        named = {
            f"norms.{k}.{name}": part for k, norm in enumerate(self.norms) for name, part in norm._asdict().items()
        }
        for kind, parts in (("first", self.first), ("second", self.second), ("best", self.best)):
            named |= {f"{kind}.{k}": part for k, part in enumerate(parts)}
        return named | {"watch": self.watch}

    def note(self, loss: float, epoch: int, layers: Sequence[Layer]) -> None:
        """Early stopping (Prechelt 1998): keep the network if its loss on valid after `epoch` epochs is the lowest."""
        if loss < self.watch[0]:
            self.watch.copy_(torch.tensor([loss, epoch], dtype=torch.float64))
            for best, part in zip(self.best, kept_parts(layers, self.norms), strict=True):
                best.copy_(part)

    def has_waited(self, epoch: int, patience: float) -> bool:
        """Whether the lowest loss is `patience` epochs old."""
        return epoch - float(self.watch[1]) >= patience

    def take_best(self, layers: Sequence[Layer]) -> int:
        """Put the network that was kept in the place of the last one; return after how many epochs it was seen."""
        for best, part in zip(self.best, kept_parts(layers, self.norms), strict=True):
            part.copy_(best)
        return int(self.watch[1])


def parameters(layers: Sequence[Layer], norms: Sequence[Norm]) -> list[Tensor]:
    """All that gradients are of, in a fixed order."""
    return [part for layer in layers for part in layer] + [part for norm in norms for part in (norm.scale, norm.shift)]


def kept_parts(layers: Sequence[Layer], norms: Sequence[Norm]) -> list[Tensor]:
    """All that a network is made of: its parameters and running statistics."""
    return parameters(layers, norms) + [part for norm in norms for part in (norm.mean, norm.variance)]


def general_step(
    settings: RunSettings,
    general: General,
    layers: Sequence[Layer],
    extras: Extras,
    inputs: Tensor,
    labels: Tensor,
    noise: Noise,
    update: int,
    updates_an_epoch: int,
) -> Tensor:
    """Update weights, normalization and moments in place by one batch.

    Args:
        settings: of the run.
        general: how it computes.
        layers: `float32` master weights, shapes (1, O, I) and (1, O).
        extras: everything else.
        inputs: features as scaled, shape (1, B, F), `float32`.
        labels: shape (1, B), `int64`.
        noise: the random numbers of this step.
        update: how many updates were done before.
        updates_an_epoch: how many an epoch has.

    Returns:
        The mean cross-entropy of the batch before the update, in nats, without penalties or smoothing, shape (1,).
    """
    trained = parameters(layers, extras.norms)
    with torch.enable_grad():
        leaves = [part.detach().requires_grad_() for part in trained]
        loss, aim = objective(general, *rebuilt(layers, extras.norms, leaves), inputs, labels, noise)
        gradients = [
            gradient.contiguous() for gradient in torch.autograd.grad(aim, leaves)
        ]  # as a fused update reads it
    with torch.no_grad():
        rate = learning_rate_at(settings, update, updates_an_epoch)
        _descend(settings, trained, gradients, extras, rate, update, updates_an_epoch, general, layers)
        for entry, strengths in general.used:
            if entry.after_update is not None:
                entry.after_update(layers, strengths)
    return loss.detach()[None]


def objective(
    general: General,
    layers: Sequence[Layer],
    norms: Sequence[Norm],
    inputs: Tensor,
    labels: Tensor,
    noise: Noise,
) -> tuple[Tensor, Tensor]:
    """The mean cross-entropy of a batch, in nats, and what is minimized: with smoothed labels and penalties; shapes ().

    Args:
        general: how the network computes.
        layers: weights, shapes (1, O, I) and (1, O).
        norms: batch normalization of each hidden layer, whose running statistics this batch moves.
        inputs: features as scaled, shape (1, B, F).
        labels: shape (1, B), `int64`.
        noise: the random numbers of the step.
    """
    hidden, logits = general.forward(layers, inputs, noise, norms, fresh=True)
    logs = torch.log_softmax(logits, dim=2)
    loss = -logs.gather(2, labels.unsqueeze(2)).mean()
    aim = loss
    for entry, strengths in general.used:
        if entry.smooth is not None:
            truth = entry.smooth(strengths[0], logits.shape[2])
            rest = (1 - truth) / (logits.shape[2] - 1)
            aim = (truth - rest) * loss - rest * logs.sum(dim=2).mean()
    for entry, strengths in general.used:
        if entry.penalty is not None:
            aim = aim + entry.penalty(layers, hidden, strengths)
    return loss, aim


def rebuilt(layers: Sequence[Layer], norms: Sequence[Norm], parts: Sequence[Tensor]) -> tuple[list[Layer], list[Norm]]:
    """The network with `parts`, in the order of `parameters`, in the place of its own; its running statistics stay."""
    rest = iter(parts)
    live = [Layer(next(rest), next(rest)) for _ in layers]
    return live, [Norm(next(rest), next(rest), norm.mean, norm.variance) for norm in norms]


def training_noise(settings: RunSettings, epoch: int, step: int, device: torch.device) -> Noise:
    """The random numbers of a step."""
    return Noise((settings.seed,), (epoch, step), True, device, scaled=settings.dropout_scaling == "training")


def final_layers(settings: RunSettings, layers: Sequence[Layer], extras: Extras) -> list[Layer]:
    """The weights as they are evaluated and kept: scaled for dropout, batch normalization folded in."""
    if settings.dropout_scaling == "inference":
        shares = zip(layers, _shares_kept(settings), strict=True)
        layers = [Layer(layer.weight * share, layer.bias) for layer, share in shares]
    return folded(layers, extras.norms)


def _shares_kept(settings: RunSettings) -> list[float]:
    """The share of its inputs that each weight layer is given in training."""
    used = {name: strengths_of(strength) for name, strength in settings.regularizers}
    (features,) = used.get("input_dropout", (0.0,))
    return [share_kept(features), *map(share_kept, settings.rates)]


def _descend(
    settings: RunSettings,
    trained: Sequence[Tensor],
    gradients: Sequence[Tensor],
    extras: Extras,
    rate: float,
    update: int,
    updates_an_epoch: int,
    general: General,
    layers: Sequence[Layer],
) -> None:
    """The optimizer's step."""
    for entry, strengths in general.used:
        if entry.before_update is not None:
            entry.before_update(layers, strengths, rate)
    if settings.optimizer == "adamw" and "weight_decay" not in dict(settings.regularizers):
        for layer in layers:
            layer.weight.mul_(1 - rate * ADAMW_DECAY)
    if extras.second:
        adam(
            list(trained),
            list(gradients),
            extras.first,
            extras.second,
            [],
            [torch.tensor(float(update), device=part.device) for part in trained],
            fused=True,
            amsgrad=False,
            beta1=settings.beta_1,
            beta2=settings.beta_2,
            lr=rate,
            weight_decay=0.0,
            eps=ADAM_EPSILON,
            maximize=False,
        )
        return
    momentum = momentum_at(settings, update, updates_an_epoch)
    if settings.optimizer == "classical":
        for part, gradient, velocity in zip(trained, gradients, extras.first, strict=True):
            part.add_(velocity.mul_(momentum).sub_(gradient, alpha=rate))
        return
    sgd(
        list(trained),
        list(gradients),
        list(extras.first) or [None] * len(trained),
        fused=True,
        weight_decay=0.0,
        momentum=momentum if extras.first else 0.0,
        lr=rate,
        dampening=0.0,
        nesterov=settings.optimizer == "nesterov",
        maximize=False,
    )
