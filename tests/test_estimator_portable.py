"""A fitted estimator elsewhere: without its GPU, in a file, through skops, in ONNX Runtime."""

import copy
import pickle

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import skops.io
from sklearn.datasets import load_iris

from droplab import DropoutMLPClassifier, DropoutMLPRegressor
from droplab.errors import ConfigError, DeviceError, ModelFileError

X, y = load_iris(return_X_y=True)
TEXT = np.array(["a", "b", "c"])[y]
FRAME = pd.DataFrame(X, columns=list("pqrs")).assign(kind=np.where(X[:, 0] > 6, "large", "small"))
SEVERAL, PAIRS = np.stack([y < 1, y > 1], axis=1).astype(int), np.stack([y, -y], axis=1)
SHORT = {"max_iter": 1000, "tol": 0.01, "random_state": 0}


@pytest.fixture(scope="module", params=["classes", "labels", "numbers", "quantiles", "table"])
def fitted(request):
    """An estimator, calibrated, with its rows and their targets."""
    model, rows, targets = {
        "classes": (
            DropoutMLPClassifier([5, 4], n_seeds=2, regularizers={"batch_norm": 1}, class_weight={"a": 2.0}, **SHORT),
            X,
            TEXT,
        ),
        "labels": (DropoutMLPClassifier(solver="lbfgs", alpha=1, **SHORT), X, SEVERAL),
        "numbers": (DropoutMLPRegressor("poisson", **SHORT), X.astype("f4"), y),
        "quantiles": (
            DropoutMLPRegressor("quantile", quantiles=[0.1, 0.9], **SHORT),
            X,
            PAIRS,
        ),
        "table": (DropoutMLPClassifier(numeric_encoding="piecewise_linear", **SHORT), FRAME, y > 1),
    }[request.param]
    model.fit(rows, targets)
    return (model if targets is SEVERAL else model.calibrate(rows, targets)), rows, targets


def said(model, rows):
    return model.predict_proba(rows) if hasattr(model, "predict_proba") else model.predict(rows)


def through_file(model, path):
    model.save(path / "model.safetensors")
    return type(model).load(path / "model.safetensors")


def through_skops(model, _):
    kept = skops.io.dumps(model)
    untrusted = skops.io.get_untrusted_types(data=kept)
    assert untrusted == [f"{type(model).__module__}.{type(model).__name__}"]
    return skops.io.loads(kept, trusted=untrusted)


def through_pickle(model, _):
    return pickle.loads(pickle.dumps(model))  # noqa: S301


@pytest.mark.parametrize("way", [through_file, through_skops, through_pickle])
def test_what_comes_back_is_the_same_and_trains_on_as_it_would_have(fitted, way, tmp_path):
    model, rows, targets = fitted
    back = way(model, tmp_path)
    assert back.get_params() == model.get_params()
    assert vars(back).keys() == vars(model).keys()
    np.testing.assert_array_equal(said(back, rows), said(model, rows))
    if rows is FRAME:
        np.testing.assert_array_equal(back.predict_set(rows, 0.8), model.predict_set(rows, 0.8))
    both = [each.set_params(warm_start=True).fit(rows, targets) for each in (back, copy.deepcopy(model))]
    for one, other in zip(both[0].networks_, both[1].networks_, strict=True):
        np.testing.assert_array_equal(one.coefs[0], other.coefs[0])


def test_onnx_runtime_says_what_the_estimator_says(fitted, tmp_path):
    model, rows, _ = fitted
    assert model.export_onnx(tmp_path / "model.onnx", rows) < 1e-6
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    given = model.preprocessing_.read(rows) if rows is FRAME else rows.astype(model.networks_[0].coefs[0].dtype)
    np.testing.assert_allclose(session.run(None, {"x": given[:7]})[0], said(model, rows)[:7], atol=1e-6, rtol=1e-6)


def test_numbers_near_0_between_large_ones_are_no_difference_of_the_exported_program(tmp_path):
    rows, numbers = X.astype("f4"), 1e6 * np.random.default_rng(2).normal(size=150)
    model = DropoutMLPRegressor(solver="lbfgs", **SHORT).fit(rows, numbers)
    assert np.abs(model.predict(rows)).min() < 1000
    assert model.export_onnx(tmp_path / "model.onnx", rows) < 1e-6


def test_a_class_may_have_the_name_that_marks_droplabs_own(tmp_path):
    names = np.where(y > 1, "droplab", "other")
    model = DropoutMLPClassifier(class_weight={"droplab": 2.0, "other": 1.0}, **SHORT).fit(X, names)
    assert through_file(model, tmp_path).get_params() == model.get_params()


def test_a_damaged_or_edited_file_or_that_of_another_class_is_refused(fitted, tmp_path):
    model, path = fitted[0], tmp_path / "model"
    model.save(path)
    content = path.read_bytes()
    other = {DropoutMLPClassifier, DropoutMLPRegressor} - {type(model)}
    with pytest.raises(ModelFileError, match="must be a whole"):
        other.pop().load(path)
    edited = content.replace(b"max_iter", b"may_iter")
    assert edited != content
    for damaged in (content[:-1], content[:50], content[:-9] + b"x" * 9, edited, b""):
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError, match="must be a"):
            type(model).load(path)
    with pytest.raises(ModelFileError):
        type(model).load(tmp_path / "none")
    with pytest.raises(ConfigError, match="RandomState"):
        copy.copy(model).set_params(random_state=np.random.RandomState(0)).save(path)


def test_what_was_trained_on_a_gpu_predicts_without_one_and_says_so(monkeypatch):
    model = DropoutMLPClassifier(**SHORT).fit(X, y)
    before, spread = model.predict_proba(X), model.predict_uncertainty(X)
    model.set_params(device="cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    back = pickle.loads(pickle.dumps(model))  # noqa: S301
    with pytest.warns(UserWarning, match=r"found none.*Predicting on the CPU"):
        np.testing.assert_array_equal(back.predict_proba(X), before)
    with pytest.warns(UserWarning, match="Predicting on the CPU"):
        np.testing.assert_array_equal(back.predict_uncertainty(X).std, spread.std)
    with pytest.raises(DeviceError, match="found none"):
        back.fit(X, y)
