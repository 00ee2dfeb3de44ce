"""R networks side by side: everything that their training is made of between two steps, each kind in one tensor.

R networks, P values of each, H units of all hidden layers (pieces, of maxout).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import chain, pairwise

import torch
from torch import Tensor

from droplab.model.network import Layer, Network, Norm, folded
from droplab.train.optimizers import Optimizer

Shapes = list[tuple[int, ...]]


@dataclass
class Networks:
    """R networks of one kind.

    The first `active` of them are under training; one that stops changes its place with the last of these.

    Attributes:
        network: what they compute.
        optimizer: how they are trained.
        seeds: of each; they fix initial weights, batch order and noise.
        values: all that gradients are of, a row a network, shape (R, P): weight and bias layer by layer, then scale and
            shift of each normalization.
        moments: what the optimizer keeps, each of shape (R, P).
        statistics: running means and variances of each normalization, shape (R, 2 · H); no columns without it.
        total: loss and aim summed over the examples of the epoch under way, shape (R, 2), `float64`.
        places: which place each network had at first.
        epoch: epochs done.
        step: steps done of the epoch under way.
        updates: steps done since the moments were 0.
    """

    network: Network
    optimizer: Optimizer
    seeds: list[int]
    values: Tensor
    moments: list[Tensor]
    statistics: Tensor
    total: Tensor
    places: list[int]
    active: int
    epoch: int = 0
    step: int = 0
    updates: int = 0

    @classmethod
    def blank(
        cls, network: Network, optimizer: Optimizer, seeds: Sequence[int], dtype: torch.dtype = torch.float32
    ) -> Networks:
        """With values of 0."""
        shapes = value_shapes(replace(network, regularizers=()))
        parts = [torch.zeros(len(seeds), *shape) for shape in shapes]
        layers = [Layer(*both) for both in zip(parts[::2], parts[1::2], strict=True)]
        return cls.initial(network, optimizer, seeds, layers, dtype)

    @classmethod
    def initial(
        cls,
        network: Network,
        optimizer: Optimizer,
        seeds: Sequence[int],
        layers: Sequence[Layer],
        dtype: torch.dtype = torch.float32,
    ) -> Networks:
        """Before the first step, with these layers."""
        runs, device = len(seeds), layers[0].weight.device
        parts = [part.reshape(runs, -1).to(dtype) for layer in layers for part in layer]
        pairs = [torch.zeros(runs, 0, dtype=dtype, device=device)]
        for width in norm_widths(network):
            zeros = pairs[0].new_zeros(runs, width)
            parts += [torch.ones_like(zeros), zeros]
            pairs += [zeros, torch.ones_like(zeros)]
        values = torch.cat(parts, dim=1)
        return cls(
            network,
            optimizer,
            list(seeds),
            values,
            [torch.zeros_like(values) for _ in range(optimizer.moments)],
            torch.cat(pairs, dim=1),
            torch.zeros(runs, 2, dtype=torch.float64, device=device),
            list(range(runs)),
            runs,
        )

    def __getstate__(self) -> dict[str, object]:
        return {each.name: getattr(self, each.name) for each in fields(self)}  # views would arrive as copies

    def __len__(self) -> int:
        return len(self.seeds)

    def first(self, count: int) -> Networks:
        """The first `count` networks: views."""
        tensors = {name: getattr(self, name)[:count] for name in ("values", "statistics", "total", "seeds", "places")}
        return replace(self, **tensors, moments=[moment[:count] for moment in self.moments], active=count)

    def copy(self, device: torch.device) -> Networks:
        """An independent copy on a device."""
        tensors = {name: getattr(self, name).to(device, copy=True) for name in ("values", "statistics", "total")}
        moments = [moment.to(device, copy=True) for moment in self.moments]
        return replace(self, **tensors, moments=moments, seeds=[*self.seeds], places=[*self.places])

    def begun_anew(self, network: Network, optimizer: Optimizer) -> Networks:
        """The same values under a network and an optimizer that begins anew."""
        moments = [torch.zeros_like(self.values) for _ in range(optimizer.moments)]
        return replace(self, network=network, optimizer=optimizer, moments=moments, updates=0)

    @property
    def live(self) -> Networks:
        """Those under training: views, unless it is all of them."""
        return self if self.active == len(self) else self.first(self.active)

    @cached_property
    def parts(self) -> list[Tensor]:
        """The values, each by itself: views of shapes (R, O, I) and (R, O)."""
        return split(self.values, value_shapes(self.network))

    @cached_property
    def statistics_parts(self) -> list[Tensor]:
        """Running means and variances, likewise."""
        return split(self.statistics, [(width,) for width in norm_widths(self.network) for _ in range(2)])

    @cached_property
    def moment_parts(self) -> list[list[Tensor]]:
        """The moments, likewise."""
        return [split(moment, value_shapes(self.network)) for moment in self.moments]

    @property
    def flat(self) -> list[Tensor]:
        """All that a step moves, as `step.flat_step` takes it: parts, statistics, moments part by part."""
        return [*self.parts, *self.statistics_parts, *chain(*self.moment_parts)]

    def final(self, strengths: Tensor | None = None) -> list[Layer]:
        """The layers as they are evaluated and kept: normalization folded in, and masks made up for.

        Args:
            strengths: shape (K, R); needed where masks are not scaled.
        """
        layers, norms = assemble(self.network, self.parts, self.statistics_parts)
        if not self.network.scaled:
            assert strengths is not None
            shares = self.network.shares_kept(strengths)
            layers = [
                Layer(weight * share[:, None, None], bias) for (weight, bias), share in zip(layers, shares, strict=True)
            ]
        return folded(layers, norms)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, R first; in place."""
        named = {"values": self.values, "statistics": self.statistics, "total": self.total}
        return named | {f"moment.{k}": moment for k, moment in enumerate(self.moments)}

    def stop(self, row: int) -> None:
        """Leave a network as it is from now on."""
        self.active -= 1
        self._swap(row, self.active)

    def sort(self) -> None:
        """Put all networks back into the places that they had at first; all are active again."""
        for place in range(len(self)):
            while self.places[place] != place:
                self._swap(place, self.places[place])
        self.active = len(self)

    def _swap(self, a: int, b: int) -> None:
        if a == b:
            return
        for tensor in self.tensors().values():
            tensor[[a, b]] = tensor[[b, a]]
        for names in (self.seeds, self.places):
            names[a], names[b] = names[b], names[a]


def value_shapes(network: Network) -> Shapes:
    """The shapes of a network's values, without R."""
    last, shapes = len(network.sizes) - 2, Shapes()
    for k, (inputs, units) in enumerate(pairwise(network.sizes)):
        outputs = units * network.pieces if k < last else units
        shapes += [(outputs, inputs), (outputs,)]
    return shapes + [(width,) for width in norm_widths(network) for _ in range(2)]


def norm_widths(network: Network) -> list[int]:
    """The products of each hidden layer that is normalized."""
    return [units * network.pieces for units in network.sizes[1:-1]] if network.is_normalized else []


def split(block: Tensor, shapes: Shapes) -> list[Tensor]:
    """Views of a block of shape (R, …) of these shapes."""
    sizes = [torch.Size(shape).numel() for shape in shapes]
    parts = torch.split(block, sizes, dim=1) if sizes else ()
    return [part.view(block.shape[0], *shape) for part, shape in zip(parts, shapes, strict=True)]


def assemble(network: Network, parts: Sequence[Tensor], statistics: Sequence[Tensor]) -> tuple[list[Layer], list[Norm]]:
    """Layers and normalizations of parts in the order of `Networks.flat`."""
    rest, moving = iter(parts), iter(statistics)
    layers = [Layer(next(rest), next(rest)) for _ in network.sizes[1:]]
    norms = [Norm(next(rest), next(rest), next(moving), next(moving)) for _ in norm_widths(network)]
    return layers, norms
