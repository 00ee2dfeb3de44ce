"""The network as a JAX program: one jitted scan over the batches of an epoch, SGD, dropout by `jax.random`.

Written for speed as a JAX user would: nothing returns to Python within an epoch, parameters are donated, features lie
on the device as scaled `float32`. Tried and no faster on a CPU: features as bytes, the generators `rbg` and
`unsafe_rbg`, masks from 8 random bits, bf16 results of bf16 products (docs/log.md).

B examples of a batch, F features, C classes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

from droplab.bench.rivals import Rival, Table
from droplab.config import RunSettings
from droplab.errors import ConfigError, DeviceError


class Jax(Rival):
    """The JAX program.

    Args:
        table: as every rival.
        device: as every rival.
        precision: `fp32`, or `bf16` for bf16 operands of the hidden layers' products, which accumulate in `float32`.

    Raises:
        ConfigError: if JAX is not installed.
        DeviceError: if the JAX installed has no such device.
    """

    key = "jax"

    def __init__(self, table: Table, device: str, precision: str) -> None:
        jax = import_jax()
        super().__init__(table, device)
        self.title = f"JAX, {precision}"
        self.place = jax_device(device)
        self.dtype = "bfloat16" if precision == "bf16" else "float32"
        self.placed = jax.device_put((table.features.numpy(), table.labels.numpy().astype("int32")), self.place)

    def train(self, settings: RunSettings) -> float:
        """Call the compiled epoch so many times."""
        import jax

        count, features = self.table.features.shape
        epoch = compiled_epoch(
            count, min(settings.batch_size, count), settings.dropout, settings.learning_rate, self.dtype
        )
        with jax.default_device(self.place):
            key = jax.random.key(settings.seed)
            parameters = _initial_parameters(key, (features, *settings.widths, self.table.classes))
            jax.block_until_ready(parameters)
            started = time.perf_counter()
            for number in range(settings.epochs):
                parameters, _ = epoch(parameters, jax.random.fold_in(key, number), *self.placed)
            jax.block_until_ready(parameters)
            return time.perf_counter() - started


def import_jax() -> Any:
    """The module `jax`.

    Raises:
        ConfigError: if it is not installed.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # a GPU is shared with PyTorch here
    try:
        import jax
    except ImportError:
        raise ConfigError("--against jax needs JAX, which is not installed here. Run: pip install jax") from None
    return jax


def jax_device(device: str) -> Any:
    """JAX's first device of that kind.

    Raises:
        DeviceError: if it has none.
    """
    jax = import_jax()
    try:
        return jax.devices(device)[0]
    except RuntimeError:
        found = ", ".join(sorted({str(one.platform) for one in jax.devices()}))
        raise DeviceError(
            f"--against jax on {device} needs a JAX that can use it; this one has {found}. "
            "Run: pip install 'jax[cuda12]', or leave jax out."
        ) from None


@cache
def compiled_epoch(
    examples: int, batch_size: int, rate: float, learning_rate: float, dtype: str
) -> Callable[..., tuple[Any, Any]]:
    """One epoch as a function: (parameters, key, features, labels) → (parameters, mean loss of the whole batches).

    JAX compiles it when it is called first, once for each shape of the parameters.

    Args:
        examples: how many there are; the last, smaller batch of an epoch is kept.
        batch_size: B.
        rate: of dropout.
        learning_rate: of SGD.
        dtype: of the operands of the hidden layers' products.
    """
    import jax
    import jax.numpy as jnp

    whole = examples // batch_size

    def loss_of(parameters: Any, inputs: Any, labels: Any, key: Any) -> Any:
        hidden = inputs
        for index, (weight, bias) in enumerate(parameters[:-1]):
            product = jnp.dot(hidden.astype(dtype), weight.astype(dtype), preferred_element_type=jnp.float32)
            hidden = jax.nn.relu(product + bias)
            if rate:
                kept = jax.random.bernoulli(jax.random.fold_in(key, index), 1 - rate, hidden.shape)
                hidden = jnp.where(kept, hidden / (1 - rate), 0)
        weight, bias = parameters[-1]
        log_probabilities = jax.nn.log_softmax(hidden @ weight + bias)
        return -jnp.take_along_axis(log_probabilities, labels[:, None], axis=1).mean()

    def epoch(parameters: Any, key: Any, features: Any, labels: Any) -> Any:
        order_key, mask_key = jax.random.split(key)
        order = jax.random.permutation(order_key, examples)
        keys = jax.random.split(mask_key, whole + 1)

        def step(parameters: Any, now: Any) -> Any:
            step_key, picked = now
            loss, gradients = jax.value_and_grad(loss_of)(parameters, features[picked], labels[picked], step_key)
            return jax.tree.map(lambda p, g: p - learning_rate * g, parameters, gradients), loss

        batches = order[: whole * batch_size].reshape(whole, batch_size)
        parameters, losses = jax.lax.scan(step, parameters, (keys[:whole], batches))
        if examples % batch_size:
            parameters, _ = step(parameters, (keys[whole], order[whole * batch_size :]))
        return parameters, losses.mean()

    compiled: Callable[..., tuple[Any, Any]] = jax.jit(epoch, donate_argnums=0)
    return compiled


def _initial_parameters(key: Any, sizes: tuple[int, ...]) -> list[tuple[Any, Any]]:
    """A weight (I, O) and a bias (O,) for each layer, uniform in ±1/√I, as PyTorch has them."""
    import jax

    parameters = []
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        weight_key, bias_key = jax.random.split(jax.random.fold_in(key, index))
        bound = inputs**-0.5
        weight = jax.random.uniform(weight_key, (inputs, outputs), minval=-bound, maxval=bound)
        parameters.append((weight, jax.random.uniform(bias_key, (outputs,), minval=-bound, maxval=bound)))
    return parameters
