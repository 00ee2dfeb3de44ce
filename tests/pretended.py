"""Takes a step of every recipe, and evaluates, on a device that is pretended: shapes, types and devices, no numbers.

    python pretended.py

prints, as JSON, what went wrong by kind of recipe. Run by tests/test_graphs.py, in a process of its own, since
PyTorch keeps what it is told of a device.
"""

import json
from collections.abc import Callable

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from droplab.model.regularizers import Regularizer, register
from droplab.train.evaluate import evaluate
from droplab.train.examples import Examples, Part
from droplab.train.step import plain_step, traced_step
from recipes import EXAMPLES, RECIPES, kin_of, run_of, state_of
from test_regularizers import OURS

_setup_privateuseone_for_python_backend("pretended")
DEVICE = torch.device("pretended:0")


class Pretending(FakeTensorMode):
    """Every tensor without its numbers; an operation on two devices is an error, as on a GPU."""

    avoid_device_init = True


def there(part: Part) -> Part:
    """A part of the same shape on the device."""
    parts = (part.features, part.labels, part.rows)
    return Part(*(torch.empty(each.shape, dtype=each.dtype, device=DEVICE) for each in parts), part.scale)


def goes(kind: str, **settings: object) -> None:
    """Do all that a GPU does of a training."""
    train = there(EXAMPLES.train)
    valid = train.with_rows(torch.empty(len(EXAMPLES.valid), dtype=torch.int64, device=DEVICE))
    runs = [*kin_of(kind), run_of(kind, **settings)]
    for some in (runs, runs[-1:]):
        state = state_of(*some, examples=Examples(train, valid, there(EXAMPLES.test), EXAMPLES.classes))
        networks = state.networks
        for inputs in state.inputs(networks):
            losses = plain_step(networks, inputs)
        tensors = [*networks.flat, *inputs.tensors()]
        traced = traced_step(networks.network, networks.optimizer, tensors)(*tensors)
        layers, strengths = state.final(networks)
        modes = ("off", "on", "mc")
        said = evaluate(networks.network, layers, valid, strengths, modes, networks.seeds, samples=3, keep=9).values()
        found = [losses, traced, *tensors, *(each for one in said for each in (one.loss, one.score, one.predictions))]
        assert {each.device for each in found} == {DEVICE}


def fault(act: Callable[[], None]) -> str | None:
    """What goes wrong, in a line."""
    try:
        with Pretending():
            act()
    except Exception as error:
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    return None


def main() -> None:
    """Print what goes wrong."""
    register(Regularizer("ours", "me", 0.2, 1, "s", **OURS))
    faults = {kind: fault(lambda kind=kind: goes(kind)) for kind in RECIPES}
    faults["registered"] = fault(lambda: goes("sgd", regularizers={"ours": 0.2}))
    faults["mixed"] = fault(lambda: torch.ones(3) + torch.ones(3, device=DEVICE))
    print(json.dumps(faults))


if __name__ == "__main__":
    main()
