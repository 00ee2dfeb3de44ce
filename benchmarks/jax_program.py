"""The networks as a JAX program: `vmap` over networks of one jitted scan over the batches of an epoch.

Written for speed as a JAX user would: nothing returns to Python within an epoch, parameters are donated, features lie
on the device as scaled `float32`. Tried and no faster on a CPU: features as bytes, the generators `rbg` and
`unsafe_rbg`, masks from 8 random bits, bf16 results of bf16 products (docs/log.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from benchmarks.measure import Table
from benchmarks.rivals import Rival, strength
from benchmarks.turns import Sample, timed
from droplab.config import RunSettings

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # a GPU is shared with PyTorch here
import jax
import jax.numpy as jnp


class Jax(Rival):
    """The JAX program; raises `RuntimeError` if the JAX installed has no such device."""

    side_by_side = True

    def __init__(self, table: Table, device: str, precision: str = "fp32") -> None:
        super().__init__(table, device, precision)
        self.title = f"JAX, vmap and scan, {precision}"
        self.place = jax.devices(device)[0]
        self.placed = jax.device_put((table.features.numpy(), table.labels.numpy().astype("int32")), self.place)

    def train(self, networks: Sequence[RunSettings]) -> Sample:
        """Call the compiled epoch so many times."""
        settings = networks[0]
        sizes = (self.table.features.shape[1], *settings.widths, self.table.classes)
        with jax.default_device(self.place):
            keys = jax.vmap(jax.random.key)(jnp.array([one.seed for one in networks]))
            state = jax.vmap(lambda key: initial_state(key, sizes))(keys)
            epoch = compiled_epoch(settings.model_copy(update={"seed": 0, "epochs": 1}), self.precision)
            jax.block_until_ready(state)

            def epochs() -> None:
                nonlocal state
                for number in range(settings.epochs):
                    now = jax.vmap(lambda key, number=number: jax.random.fold_in(key, number))(keys)
                    state, _ = epoch(state, now, *self.placed)
                jax.block_until_ready(state)

            return timed(epochs)

    def warm_up(self, networks: Sequence[RunSettings]) -> None:
        """Compile: a program is for its shapes, and another for what an epoch before has made."""
        self.train([one.model_copy(update={"epochs": 2}) for one in networks])


def initial_state(key: Any, sizes: Sequence[int]) -> Any:
    """Layers as PyTorch begins them, with normalization's scale and shift; two moments of each; steps done."""
    layers = []
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        weight_key, bias_key = jax.random.split(jax.random.fold_in(key, number))
        limit = inputs**-0.5
        weight = jax.random.uniform(weight_key, (inputs, outputs), minval=-limit, maxval=limit)
        bias = jax.random.uniform(bias_key, (outputs,), minval=-limit, maxval=limit)
        layers.append({"weight": weight, "bias": bias, "scale": jnp.ones(outputs), "shift": jnp.zeros(outputs)})
    nothing = jax.tree.map(jnp.zeros_like, layers)
    return layers, nothing, nothing, jnp.zeros(())


@cache
def compiled_epoch(settings: RunSettings, precision: str) -> Callable[..., tuple[Any, Any]]:
    """One epoch of R networks: (state, keys, features, labels) → (state, mean loss of the whole batches of each).

    JAX compiles it when it is called first, once for each shape of the state.

    Args:
        settings: recipe, dropout and batch size.
        precision: of the operands of the hidden layers' products, which accumulate in `float32`.
    """
    decay, most = strength(settings, "weight_decay"), strength(settings, "max_norm")
    dtype = "bfloat16" if precision == "bf16" else "float32"
    rate, momentum = settings.learning_rate, settings.momentum

    def dropped(values: Any, share: float, key: Any) -> Any:
        return (
            jnp.where(jax.random.bernoulli(key, 1 - share, values.shape), values / (1 - share), 0) if share else values
        )

    def loss_of(layers: Any, inputs: Any, labels: Any, key: Any) -> Any:
        here = dropped(inputs, strength(settings, "input_dropout"), jax.random.fold_in(key, len(layers)))
        for number, layer in enumerate(layers[:-1]):
            operands = here.astype(dtype), layer["weight"].astype(dtype)
            here = jnp.dot(*operands, preferred_element_type=jnp.float32) + layer["bias"]
            if strength(settings, "batch_norm"):
                here = (here - here.mean(0)) * jax.lax.rsqrt(here.var(0) + 1e-5) * layer["scale"] + layer["shift"]
            here = dropped(jax.nn.relu(here), settings.rates[number], jax.random.fold_in(key, number))
        log_probabilities = jax.nn.log_softmax(here @ layers[-1]["weight"] + layers[-1]["bias"])
        return -jnp.take_along_axis(log_probabilities, labels[:, None], axis=1).mean()

    def updated(layers: Any, first: Any, second: Any, count: Any, gradients: Any) -> Any:
        """The optimizer: layers, first and second moments."""
        tree = jax.tree.map
        if settings.optimizer in ("adam", "adamw"):
            first = tree(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
            second = tree(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
            large, small = 1 - 0.9**count, jnp.sqrt(1 - 0.999**count)
            step = tree(lambda m, v: m / large / (jnp.sqrt(v) / small + 1e-8), first, second)
            layers = [layer | {"weight": layer["weight"] * (1 - rate * decay)} for layer in layers]
        else:
            first = tree(lambda m, g: momentum * m + g, first, gradients) if momentum else first
            step = first if momentum else gradients
            if settings.optimizer == "nesterov":
                step = tree(lambda m, g: momentum * m + g, first, gradients)
        layers = tree(lambda w, s: w - rate * s, layers, step)
        if most:
            norms = [jnp.linalg.norm(layer["weight"], axis=0) + 1e-12 for layer in layers]
            layers = [
                layer | {"weight": layer["weight"] * jnp.minimum(1, most / norm)}
                for layer, norm in zip(layers, norms, strict=True)
            ]
        return layers, first, second

    def epoch(state: Any, key: Any, features: Any, labels: Any) -> Any:
        examples, size = len(labels), min(settings.batch_size, len(labels))
        whole = examples // size
        order_key, mask_key = jax.random.split(key)
        order = jax.random.permutation(order_key, examples)
        keys = jax.random.split(mask_key, whole + 1)

        def step(state: Any, now: Any) -> Any:
            layers, first, second, count = state
            step_key, picked = now
            loss, gradients = jax.value_and_grad(loss_of)(layers, features[picked], labels[picked], step_key)
            return (*updated(layers, first, second, count + 1, gradients), count + 1), loss

        state, losses = jax.lax.scan(step, state, (keys[:whole], order[: whole * size].reshape(whole, size)))
        if examples % size:
            state, _ = step(state, (keys[whole], order[whole * size :]))
        return state, losses.mean()

    compiled: Callable[..., tuple[Any, Any]] = jax.jit(jax.vmap(epoch, in_axes=(0, 0, None, None)), donate_argnums=0)
    return compiled
