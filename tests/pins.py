"""Pins: what small networks of every kind come to, held over a change of the engine.

    python tests/pins.py make FILE         trains them with the droplab that is imported (a minute on one core)
    python tests/pins.py compare OLD NEW   prints a row a kind; the exit code is 1 where one is out of its tolerance

`golden/pins-numerics-N.json` is what the engine of numerics version N made. Only faces are used, which outlive an
engine: `Study` and `DropoutMLPClassifier`, on scikit-learn's digits.

A kind is `exact` where nothing is random but initial weights and the order of batches: every loss agrees within `EXACT`
of itself (in bf16 within `ROUNDED`), an accuracy within `EXAMPLES`. It is `close` where there are masks or noise, whose
numbers may change with the numerics version: the mean of a quantity over the seeds agrees within three standard errors
of the difference and `MARGIN`. What a machine cannot train (bf16) is not compared.

No kind has both Adam and batch normalization: a bias before that has no gradient but rounding's, of which Adam makes
whole steps, so that no two engines agree on it.
"""

import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits, make_multilabel_classification

from droplab import DropoutMLPClassifier, Study
from droplab.config import NUMERICS_VERSION
from droplab.errors import DeviceError

Values = dict[str, list[float]]
"""By quantity: a curve (`exact`), or its last value with each seed (`close`)."""

EXACT, ROUNDED = 1e-3, 2e-2
MARGIN = 0.01
"""Of a `close` mean: of an accuracy, or relative to another quantity."""

EXAMPLES = 2.5 / 360
"""What an `exact` accuracy may be off by: two of the 360 examples."""

SEEDS = {"exact": 2, "close": 5}
BASE = {"widths": (24, 12), "dropout": [], "epochs": 8, "batch_size": 64, "learning_rate": 0.05, "momentum": 0.9}
ADAM = {"optimizer": "adam", "learning_rate": 0.005, "momentum": 0}
STUDIES: dict[str, dict[str, dict[str, Any]]] = {
    "exact": {
        "sgd": {"momentum": 0, "learning_rate": 0.3},
        "no hidden layer": {"widths": ()},
        "fewer examples": {"train_examples": 300},
        "momentum": {},
        "classical, exponential": {"optimizer": "classical", "schedule": "exponential"},
        "nesterov": {"optimizer": "nesterov"},
        "adam": ADAM,
        "adam, linear": ADAM | {"schedule": "linear", "beta_1": 0.8, "beta_2": 0.99},
        "adamw": ADAM | {"optimizer": "adamw", "regularizers": {"weight_decay": 0.1}},
        "cosine, warmup": {"schedule": "cosine", "warmup_epochs": 2},
        "inverse time": {"schedule": "inverse_time", "schedule_epochs": 3},
        "momentum linear": {"momentum": 0.5, "momentum_schedule": "linear", "momentum_final": 0.9},
        "momentum exponential": {"momentum": 0.5, "momentum_schedule": "exponential", "momentum_epochs": 3},
        "logistic, glorot": {"activation": "logistic", "initial_weights": "glorot", "learning_rate": 0.3},
        "tanh, fan_in": {"activation": "tanh", "initial_weights": "fan_in"},
        "gelu": {"activation": "gelu"},
        "maxout": {"activation": "maxout", "pieces": 3},
        "he": {"initial_weights": "he"},
        "l1": {"regularizers": {"l1": 0.001}},
        "l2 by layer": {"regularizers": {"l2": [0.01, 0.003, 0.0]}},
        "weight_decay": {"regularizers": {"weight_decay": 0.05}},
        "max_norm": {"regularizers": {"max_norm": 1.0}},
        "label_smoothing": {"regularizers": {"label_smoothing": 0.1}},
        "kl_sparsity": {"regularizers": {"kl_sparsity": 0.01}},
        "batch_norm": {"regularizers": {"batch_norm": 1}},
        "early_stopping": {"learning_rate": 0.2, "regularizers": {"early_stopping": 1}},
        "all at once": {
            **{"optimizer": "nesterov", "activation": "gelu", "schedule": "cosine"},
            "regularizers": {"l2": 0.001, "max_norm": 2.0, "label_smoothing": 0.1, "batch_norm": 1},
        },
    },
    "close": {
        "dropout": {"dropout": 0.5},
        "dropout, inference": {"dropout": 0.5, "dropout_scaling": "inference"},
        "dropout, adam": ADAM | {"dropout": 0.3},
        "dropout by layer": {"regularizers": {"dropout_by_layer": [0.2, 0.5]}},
        "input_dropout": {"regularizers": {"input_dropout": 0.3}},
        "gaussian_dropout": {"regularizers": {"gaussian_dropout": 0.3}},
        "input_gaussian_dropout": {"regularizers": {"input_gaussian_dropout": 0.3}},
        "input_noise": {"regularizers": {"input_noise": 0.3}},
        "hidden_noise": {"regularizers": {"hidden_noise": 0.3}},
        "dropout, all at once": {
            "dropout": 0.3,
            "regularizers": {"input_dropout": 0.2, "batch_norm": 1, "max_norm": 2.0},
        },
    },
}
BF16 = {"exact": {"bf16 momentum": {}}, "close": {"bf16 dropout": {"dropout": 0.3}}}


def of_study(sort: str, kinds: Mapping[str, Any], precision: str) -> dict[str, Values]:
    """What the kinds of a study come to; the controls of those with regularizers are trained besides."""
    study = Study.of("digits", **BASE, seeds=SEEDS[sort], vary={"kind": {"-": {"learning_rate": 0.01}} | kinds})
    with tempfile.TemporaryDirectory() as folder:
        result = study.run(store=Path(folder, "store.sqlite"), device="cpu", precision=precision, workers=1)
        results, curves = result.results(), result.findings.curves
    found = {}
    for kind in kinds:
        arm = kind if (results.arm == kind).any() else f"{kind},control"
        tests = results[(results.arm == arm) & (results.split == "test") & results.metric.isin(["accuracy", "nll"])]
        lines = curves[(curves.arm == arm) & (curves.quantity == "loss")]
        values = {f"{m} {i}": group.value.tolist() for (m, i), group in tests.groupby(["metric", "inference"])}
        if sort == "exact":
            values |= {f"{part}, {s}": g.value.tolist() for (part, s), g in lines.groupby(["split", "seed"])}
        else:
            values |= {part: g.groupby("seed").value.last().tolist() for part, g in lines.groupby("split")}
        found[kind] = values
    return found


X, Y = load_digits(return_X_y=True)
X = X / 16
SEVERAL = make_multilabel_classification(600, 20, n_classes=4, random_state=0)
SGD = {"solver": "sgd", "learning_rate_init": 0.05}


def several(model: DropoutMLPClassifier) -> None:
    model.fit(SEVERAL[0][:400], SEVERAL[1][:400])


def weighted(model: DropoutMLPClassifier) -> None:
    model.fit(X[:1400], Y[:1400], np.random.default_rng(0).uniform(0, 3, 1400))


def twice(model: DropoutMLPClassifier) -> None:
    model.fit(X[:1400], Y[:1400]).fit(X[:1400], Y[:1400])


def by_part(model: DropoutMLPClassifier) -> None:
    for start in range(0, 1400, 200):
        model.partial_fit(X[start : start + 200], Y[start : start + 200], classes=np.arange(10))


Fit = Callable[[DropoutMLPClassifier], Any]
CLASSIFIERS: dict[str, dict[str, tuple[dict[str, Any]] | tuple[dict[str, Any], Fit]]] = {
    "exact": {
        "fit adam": ({},),
        "fit adam fp64": ({"precision": "fp64", "alpha": 0.1},),
        "fit sgd": (SGD | {"nesterovs_momentum": False},),
        "fit sgd, no momentum": (SGD | {"momentum": 0, "learning_rate_init": 0.3},),
        "fit nesterov, invscaling": (SGD | {"learning_rate": "invscaling", "power_t": 0.1},),
        "fit adaptive": (SGD | {"learning_rate": "adaptive", "tol": 0.02, "n_iter_no_change": 1, "max_iter": 40},),
        "fit lbfgs": ({"solver": "lbfgs"},),
        "fit tanh": ({"activation": "tanh", "hidden_layer_sizes": (20, 10)},),
        "fit logistic": ({"activation": "logistic"},),
        "fit sample_weight": ({}, weighted),
        "fit class_weight": ({"class_weight": {1: 3.0, 2: 0.5}},),
        "fit several labels": ({}, several),
        "fit sparse": ({}, lambda model: model.fit(csr_matrix(X[:1400]), Y[:1400])),
        "fit early_stopping": ({"early_stopping": True, "n_iter_no_change": 2, "max_iter": 60, "tol": 0.01},),
        "fit warm_start": ({"warm_start": True}, twice),
        "partial_fit": ({}, by_part),
        "fit n_seeds=3": ({"n_seeds": 3},),
        "fit regularizers": (SGD | {"regularizers": {"max_norm": 1.0, "batch_norm": 1, "label_smoothing": 0.1}},),
        "fit no shuffle": ({"shuffle": False},),
    },
    "close": {
        "fit dropout": ({"dropout": 0.3},),
        "fit dropout sgd": (SGD | {"dropout": 0.3},),
        "fit dropout by layer": ({"dropout": (0.1, 0.4), "hidden_layer_sizes": (30, 20), "input_dropout": 0.1},),
        "fit input_noise": ({"regularizers": {"input_noise": 0.3}},),
    },
}


def of_classifier(sort: str, given: dict[str, Any], fit: Fit = lambda model: model.fit(X[:1400], Y[:1400])) -> Values:
    """What a classifier comes to, fitted with each of the seeds."""
    usual = {"hidden_layer_sizes": (24,), "learning_rate_init": 0.01, "max_iter": 12, "batch_size": 64, "dropout": 0.0}
    idle = {"batch_size": "auto", "learning_rate_init": 0.001} if given.get("solver") == "lbfgs" else {}
    found: Values = {}
    for seed in range(SEEDS[sort]):
        model = DropoutMLPClassifier(**usual | idle | given, random_state=seed, device="cpu")
        fit(model)
        x, y = (part[400:] for part in SEVERAL) if fit is several else (X[1400:], Y[1400:])
        truth = y if y.ndim == 2 else np.eye(10)[y]
        curves = {f"loss {k}": net.loss_curve or [net.loss] for k, net in enumerate(model.networks_)}
        values = {"accuracy": model.score(x, y), "brier": np.square(model.predict_proba(x) - truth).sum(axis=1).mean()}
        if sort == "exact":
            found |= {f"{name}, {seed}": curve for name, curve in curves.items()}
        else:
            sure = model.predict_uncertainty(x)
            values |= {"entropy": sure.entropy.mean(), "mutual": sure.mutual_information.mean()}
            values |= {name: curve[-1] for name, curve in curves.items()}
        for name, value in values.items():
            found.setdefault(name, []).append(float(value))
    return found


def make() -> dict[str, Any]:
    """Every kind's values, by sort and kind."""
    found: dict[str, dict[str, Values]] = {}
    for sort in SEEDS:
        found[sort] = of_study(sort, STUDIES[sort], "fp32")
        found[sort] |= {kind: of_classifier(sort, *how) for kind, how in CLASSIFIERS[sort].items()}
        try:
            found[sort] |= of_study(sort, BF16[sort], "bf16")
        except DeviceError as error:
            print(error, file=sys.stderr)
    rounded = {
        sort: {
            kind: {name: [float(f"{v:.6g}") for v in vs] for name, vs in each.items()} for kind, each in kinds.items()
        }
        for sort, kinds in found.items()
    }
    return {"numerics": NUMERICS_VERSION, **rounded}


def excess(sort: str, kind: str, name: str, old: list[float], new: list[float]) -> float:
    """The deviation of a quantity as a share of what it may be; infinite where the curves' lengths differ."""
    a, b = np.array(old), np.array(new)
    accuracy = name.startswith("accuracy")
    if a.shape != b.shape or not np.isfinite(b).all():
        return float("inf")
    if sort == "exact":
        allowed = EXAMPLES if accuracy else (ROUNDED if "bf16" in kind else EXACT) * np.abs(a)
        return float(np.max(np.abs(a - b) / allowed))
    error = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(a))
    return float(abs(a.mean() - b.mean()) / (3 * error + MARGIN * (1 if accuracy else abs(a.mean()))))


def compare(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Print a row a kind, with the quantity that is furthest off; whether all are within their tolerance."""
    sound = True
    for sort in SEEDS:
        for kind in sorted(old[sort].keys() | new[sort].keys()):
            a, b = old[sort].get(kind), new[sort].get(kind)
            if a is None or b is None:
                said, fine = "in one file alone", "bf16" in kind
            else:
                off = {n: excess(sort, kind, n, a.get(n, []), b.get(n, [])) for n in a.keys() | b.keys()}
                worst = max(off, key=lambda n: off[n])
                said, fine = f"{off[worst]:7.3f} of what it may be off by ({worst})", off[worst] <= 1
            sound &= fine
            print(f"{'ok ' if fine else 'OFF'}  {sort:5}  {kind:26}  {said}")
    return sound


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    match sys.argv[1:]:
        case ["make", file]:
            Path(file).write_text(json.dumps(make(), separators=(",", ":")).replace('},"', '},\n"') + "\n", "utf-8")
        case ["compare", old, new]:
            sys.exit(not compare(*(json.loads(Path(file).read_text("utf-8")) for file in (old, new))))
        case _:
            sys.exit(__doc__)
