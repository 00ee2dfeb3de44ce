"""Loss curves of short trainings, kept in golden/curves.json: a change that moves one has to say why.

    python tests/test_golden.py

writes the file anew; the commit that changes it gives the reason, and raises `NUMERICS_VERSION` in `config.py`.
"""

import json
import warnings
from pathlib import Path

import pytest
from sklearn.exceptions import ConvergenceWarning

import droplab
from droplab.config import RunSettings
from droplab.train.device import has_bf16_units
from droplab.train.loop import train_pack
from droplab.train.outcome import Way
from toy import toy_examples

FILE = Path(__file__).with_name("golden") / "curves.json"
BASE = RunSettings(widths=(24, 12), dropout=0.5, epochs=8, batch_size=64, learning_rate=0.2)


def plain(regularizers: dict[str, float], **values: object) -> RunSettings:
    return BASE.model_copy(update={"dropout": 0.0, "regularizers": regularizers, **values})


CASES = {
    "linear": (BASE.model_copy(update={"widths": (), "dropout": 0.0}), "fp32"),
    "control": (BASE.model_copy(update={"dropout": 0.0}), "fp32"),
    "dropout": (BASE, "fp32"),
    "dropout between 256ths, momentum": (BASE.model_copy(update={"dropout": 0.3, "momentum": 0.9}), "fp32"),
    "dropout, bf16": (BASE, "bf16"),
    "adam, l2": (plain({"l2": 0.01}, optimizer="adam", learning_rate=0.01), "fp32"),
    "adamw, batch_norm": (plain({"batch_norm": 1}, optimizer="adamw", learning_rate=0.01), "fp32"),
    "nesterov, max_norm, input_dropout": (
        plain({"max_norm": 1.0, "input_dropout": 0.2}, optimizer="nesterov", momentum=0.9, learning_rate=0.05),
        "fp32",
    ),
    "gelu, label_smoothing": (plain({"label_smoothing": 0.1}, activation="gelu", learning_rate=0.5), "fp32"),
    "maxout": (plain({}, activation="maxout", pieces=3), "fp32"),
}
FITS = {
    "fit, adam": {"solver": "adam", "learning_rate_init": 0.01},
    "fit, sgd": {"solver": "sgd", "learning_rate_init": 0.1},
}


def curves(name: str) -> dict[str, list[float]]:
    if name in FITS:
        part = toy_examples().train
        given = {"hidden_layer_sizes": (24, 12), "dropout": 0, "max_iter": 8, "batch_size": 64, "random_state": 0}
        model = droplab.DropoutMLPClassifier(**given, **FITS[name], device="cpu")
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            model.fit(part.features[part.rows].numpy() * part.scale, part.labels[part.rows].numpy())
        return {"train": model.loss_curve_}
    settings, precision = CASES[name]
    found = train_pack([settings], toy_examples(), Way("cpu", precision), lambda _: None)[0].outcome.curves
    return {"train": found.train_loss.tolist(), "valid": found.losses[1].tolist()}


@pytest.mark.parametrize("name", [*CASES, *FITS])
def test_a_training_reproduces_its_golden_curve(name: str) -> None:
    bf16 = name.endswith("bf16")
    if bf16 and not has_bf16_units("cpu"):
        pytest.skip("this processor has no bf16 units")
    kept = json.loads(FILE.read_text("utf-8"))[name]
    for part, values in curves(name).items():
        assert values == pytest.approx(kept[part], rel=1e-2 if bf16 else 1e-4)


if __name__ == "__main__":
    FILE.write_text(json.dumps({name: curves(name) for name in [*CASES, *FITS]}, indent=1) + "\n", "utf-8")
