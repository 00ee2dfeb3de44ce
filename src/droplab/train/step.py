"""What happens in one step: objective → gradient → regularizers → optimizer → constraint, for R networks at once.

R networks, B examples, F features, C classes, K rows of strengths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from droplab.model.network import Batch, Network
from droplab.model.noise import Noise
from droplab.train.networks import Networks, assemble, norm_widths, value_shapes
from droplab.train.optimizers import ROWS, Optimizer


class Inputs(NamedTuple):
    """What a step takes beside the networks.

    Attributes:
        features: as stored, shape (R, B, F), `uint8` or a float type.
        targets: as `Batch` has them.
        scale: what a stored feature is multiplied by, shape ().
        keys: of the step's noise, shape (R,), `int64`.
        numbers: of the optimizer, and then the strengths, shape (ROWS + K, R).
        shares: as `Batch` has them.
        masks: as `Noise.made` has them.
    """

    features: Tensor
    targets: Tensor
    scale: Tensor
    keys: Tensor
    numbers: Tensor
    shares: Tensor | None = None
    masks: Sequence[Tensor] = ()

    def tensors(self) -> list[Tensor]:
        """All tensors in it, in order."""
        return [*(each for each in self if isinstance(each, Tensor)), *self.masks]


Step = Callable[[Networks, Inputs], Tensor]
"""An update in place of networks by one batch, as `train_step` makes it."""


def plain_step(networks: Networks, inputs: Inputs) -> Tensor:
    """The step as its operations one by one: what every other way to run it is held against."""
    values, moments = networks.parts, networks.moment_parts
    if len(networks) == 1:  # the calls are most of its time: it is moved as a whole
        values, moments = [networks.values], [[moment] for moment in networks.moments]
    return train_step(
        networks.network, networks.optimizer, networks.parts, networks.statistics_parts, values, moments, inputs
    )


def flat_step(network: Network, optimizer: Optimizer) -> Callable[..., Tensor]:
    """`train_step` over a flat list of tensors, `Networks.flat` and `Inputs.tensors`, to be traced."""
    count, norms = len(value_shapes(network)), 2 * len(norm_widths(network))

    def step(*tensors: Tensor) -> Tensor:
        parts, statistics = tensors[:count], tensors[count : count + norms]
        rest = tensors[count + norms :]
        moments = [rest[k * count : (k + 1) * count] for k in range(optimizer.moments)]
        inputs = Inputs(*rest[optimizer.moments * count :])  # type: ignore[arg-type]  # masks are not among them
        return train_step(network, optimizer, parts, statistics, parts, moments, inputs)

    return step


def traced_step(
    network: Network, optimizer: Optimizer, tensors: Sequence[Tensor], symbolic: bool = False
) -> torch.fx.GraphModule:
    """The step with its gradient as one flat list of tensor operations without autograd; nothing is moved meanwhile.

    Args:
        network: what the networks compute.
        optimizer: how they move.
        tensors: examples of what `flat_step` takes.
        symbolic: whether it is for all sizes; else for those of `tensors`.
    """
    # Imported here: with it comes a computer algebra system, 0.8 s, for who records or compiles.
    from torch.fx.experimental.proxy_tensor import make_fx

    traced = make_fx(flat_step(network, optimizer), tracing_mode="symbolic" if symbolic else "fake")(*tensors)
    _turn(traced.graph)
    traced.recompile()
    return traced


def _turn(graph: torch.fx.Graph) -> None:
    """(AᵀB)ᵀ as BᵀA: the gradient of stacked weights lies in memory as they do then, and no update turns it."""
    aten = torch.ops.aten

    def turned(node: Any) -> Any:
        """What `node` turns, if it does."""
        is_turn = isinstance(node, torch.fx.Node) and node.target == aten.transpose.int
        return node.args[0] if is_turn and {axis % 3 for axis in node.args[1:]} == {1, 2} else None

    for node in graph.nodes:
        product = turned(node)
        if product is None or product.target != aten.bmm.default or (left := turned(product.args[0])) is None:
            continue
        with graph.inserting_before(node):
            right = graph.call_function(aten.transpose.int, (product.args[1], 1, 2))
            node.replace_all_uses_with(graph.call_function(aten.bmm.default, (right, left)))
    graph.eliminate_dead_code()


def train_step(
    network: Network,
    optimizer: Optimizer,
    parts: Sequence[Tensor],
    statistics: Sequence[Tensor],
    values: Sequence[Tensor],
    moments: Sequence[Sequence[Tensor]],
    inputs: Inputs,
) -> Tensor:
    """Update networks in place by one batch.

    Args:
        network: what they compute.
        optimizer: how they move.
        parts: weights, biases, scales and shifts, as `Networks.flat` has them.
        statistics: running means and variances, as `Networks.flat` has them.
        values: what the optimizer moves: the parts, or the one tensor of shape (R, P) that they are views of.
        moments: of the optimizer, each shaped as `values`.
        inputs: examples, noise, rates and strengths.

    Returns:
        The mean cross-entropy of the batch before the update, in nats, and what is minimized, shape (2, R).
    """
    rate, strengths = inputs.numbers[0], inputs.numbers[ROWS:]
    losses, gradients = derived(network, parts, statistics, inputs)
    with torch.no_grad():
        gradients = network.gradients(gradients, strengths)
        layers, _ = assemble(network, parts, statistics)
        network.update(layers, strengths, rate)
        if len(values) < len(parts):
            gradients = [torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)]
        optimizer.update(values, moments, gradients, inputs.numbers[:ROWS])
        network.update(layers, strengths, None)
    return losses


def derived(
    network: Network, parts: Sequence[Tensor], statistics: Sequence[Tensor], inputs: Inputs
) -> tuple[Tensor, Sequence[Tensor]]:
    """The losses that `train_step` returns, and the gradient of what is minimized, shaped as `parts`."""
    features = inputs.features.to(inputs.scale.dtype) * inputs.scale
    batch = Batch(features, inputs.targets, inputs.shares)
    noise = Noise(inputs.keys, fine=network.fine, scaled=network.scaled, made=inputs.masks)
    with torch.enable_grad():
        leaves = [part.detach().requires_grad_() for part in parts]
        layers, norms = assemble(network, leaves, statistics)
        loss, aim = network.objective(layers, norms, batch, noise, inputs.numbers[ROWS:])
        gradients = torch.autograd.grad(aim.sum(), leaves, materialize_grads=True)
    return torch.stack([loss.detach(), aim.detach()]), gradients
