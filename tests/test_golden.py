"""Loss curves of short trainings, kept in golden/curves.json: a change that moves one has to say why.

    python tests/test_golden.py

writes the file anew; the commit that changes it gives the reason, and raises `NUMERICS_VERSION` in `config.py`.
"""

import json
from pathlib import Path

import pytest

from droplab.config import RunSettings
from droplab.train.device import has_bf16_units
from droplab.train.engine import train_pack
from droplab.train.outcome import Way
from toy import toy_examples

FILE = Path(__file__).with_name("golden") / "curves.json"
BASE = RunSettings(widths=(24, 12), dropout=0.5, epochs=8, batch_size=64, learning_rate=0.2)
CASES = {
    "linear": (BASE.model_copy(update={"widths": (), "dropout": 0.0}), "fp32"),
    "control": (BASE.model_copy(update={"dropout": 0.0}), "fp32"),
    "dropout": (BASE, "fp32"),
    "dropout between 256ths, momentum": (BASE.model_copy(update={"dropout": 0.3, "momentum": 0.9}), "fp32"),
    "dropout, bf16": (BASE, "bf16"),
}


def curves(name: str) -> dict[str, list[float]]:
    settings, precision = CASES[name]
    found = train_pack([settings], toy_examples(), Way("cpu", precision), lambda _: None)[0].outcome.curves
    return {"train": found.train_loss.tolist(), "valid": found.losses[1].tolist()}


@pytest.mark.parametrize("name", CASES)
def test_a_training_reproduces_its_golden_curve(name: str) -> None:
    if CASES[name][1] == "bf16" and not has_bf16_units("cpu"):
        pytest.skip("this processor has no bf16 units")
    kept, tolerance = json.loads(FILE.read_text("utf-8"))[name], 1e-4 if CASES[name][1] == "fp32" else 1e-2
    for part, values in curves(name).items():
        assert values == pytest.approx(kept[part], rel=tolerance)


if __name__ == "__main__":
    FILE.write_text(json.dumps({name: curves(name) for name in CASES}, indent=1) + "\n", "utf-8")
