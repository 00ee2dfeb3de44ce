"""`droplab export`: what leaves droplab says what droplab says, without it."""

import json
import subprocess
import sys

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load, load_file

from droplab import export as exporting
from droplab.data.files import load_dataset
from droplab.errors import ConfigError, ExportError
from droplab.export import Whole, columns_table, export, tensors
from droplab.model.file import ModelInfo, stacked, to_bytes
from droplab.train.answers import answers
from study_help import droplab
from test_tabular import FRAME

RANDOM = np.random.default_rng(2)
ODD = FRAME[:5].assign(age=[np.nan, 1.0, 90.0, np.nan, 3.5], town=["Ulm", "Rome", None, "Bern", "Ulm"])


def model(**told):
    """A network of 6 features and 3 classes with weights by chance, and what it is."""
    given = {"widths": (8, 4), "dropout": 0.5, "features": 6, "classes": ("a", "b", "c"), "scale": 1.0}
    given |= {"image_shape": None, "data": "toy", "fingerprint": "", "key": "", "precision": "fp32"}
    info = ModelInfo(**given | told)
    return {name: RANDOM.normal(size=shape).astype("f4") for name, shape in info.shapes.items()}, info


@pytest.fixture(params=[None, "piecewise_linear"])
def table(tmp_path, request):
    """A network for a table, in its file."""
    FRAME.assign(member=FRAME.member.where(FRAME.index % 9 > 0)).to_csv(tmp_path / "people.csv", index=False)
    given = {"target": "class", "numeric_encoding": request.param, "notify": lambda _: None}
    dataset = load_dataset(tmp_path / "people.csv", **given)
    weights, info = model(features=dataset.features, classes=dataset.classes, preprocessing=dataset.preprocessing)
    (tmp_path / "m.safetensors").write_bytes(to_bytes(weights, info))
    return weights, info


def plain(weights, x):
    """The probabilities of one network of ReLUs, by NumPy alone."""
    here, last = x.astype(np.float64), len(weights) // 2 - 1
    for k in range(last + 1):
        here = here @ weights[f"layers.{k}.weight"].T + weights[f"layers.{k}.bias"]
        here = np.maximum(here, 0) if k < last else np.exp(here)
    return here / here.sum(axis=1, keepdims=True)


def run_onnx(path_or_bytes, rows):
    return onnxruntime.InferenceSession(path_or_bytes).run(None, {"x": rows})[0]


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"widths": ()},
        {"activation": "tanh"},
        {"activation": "gelu", "dropout": 0.0},
        {"activation": "logistic", "regularizers": (("input_dropout", 0.2),)},
        {"activation": "maxout", "pieces": 3},
        {"precision": "bf16"},
    ],
)
@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_an_exported_network_says_what_ours_says(told, form):
    weights, info = model(**told)
    x = RANDOM.normal(size=(9, 6)).astype("f4")
    made = export(weights, info, form, x, x)
    assert made.rows == 9
    assert made.difference < 1e-6
    if form == "onnx":
        ours = np.exp(answers(weights, info.model_copy(update={"precision": "fp32"}), x)["off"].logs)
        for rows in (x, x[:1], np.tile(x, (50, 1))):
            np.testing.assert_allclose(run_onnx(made.content, rows)[: len(x)], ours[: len(rows)], atol=1e-6)


def test_a_plain_network_says_what_a_reader_would_compute():
    networks = [model(scale=1 / 255, image_shape=(2, 3)) for _ in range(3)]
    weights, info = stacked(networks)
    x = RANDOM.integers(0, 256, (7, 6), np.uint8)
    said = run_onnx(export(weights, info, "onnx", x.astype("f4"), x).content, x.astype("f4"))
    np.testing.assert_allclose(said, np.mean([plain(one, x / 255) for one, _ in networks], axis=0), atol=1e-6)


def test_a_table_goes_through_onnx_with_its_columns_file_alone(table, tmp_path):
    """As someone without droplab would: text by the columns file, gaps as NaN."""
    weights, info = table
    said = droplab("export", tmp_path / "m.safetensors", "--to", "onnx", "--check", tmp_path / "people.csv")
    assert said.code == 0, said.errors
    assert "largest difference of an answer from droplab's on 60 rows" in said.out
    assert "text cannot go inside: town" in said.out
    columns = pd.read_csv(tmp_path / "m.onnx.columns.csv")
    ODD.to_csv(tmp_path / "odd.csv", index=False)
    rows = pd.read_csv(tmp_path / "odd.csv")
    inputs = []
    for _, part in columns.groupby("input"):
        name = part.column.iloc[0]
        if (part.kind == "number").all():
            inputs.append(rows[name].astype(float))
        else:
            numbers = part[part.kind == "category"].set_index("category").number
            known = rows[name].astype(str).map(numbers).fillna(-1.0)
            inputs.append(known.where(rows[name].notna(), np.nan))
    x = np.stack(inputs, axis=1).astype("f8")
    expected = plain(weights, info.preprocessing.transform(pd.read_csv(tmp_path / "odd.csv")))
    np.testing.assert_allclose(run_onnx(tmp_path / "m.onnx", x), expected, atol=1e-5)


def test_columns_are_encoded_as_their_table_says(table):
    _, info = table
    codes = info.preprocessing.read(ODD)
    numbers = columns_table(info.preprocessing).dropna(subset="category").set_index("category").number
    np.testing.assert_array_equal(codes[:, 2], [numbers["Ulm"], -1, np.nan, numbers["Bern"], numbers["Ulm"]])
    whole = Whole(*table)
    np.testing.assert_array_equal(whole.prepare(torch.from_numpy(codes)), info.preprocessing.transform(ODD))


def test_the_torch_program_needs_no_droplab(table, tmp_path):
    weights, info = table
    said = droplab("export", tmp_path / "m.safetensors", "--to", "torch", "--check", tmp_path / "people.csv")
    assert said.code == 0, said.errors
    np.save(tmp_path / "x.npy", info.preprocessing.read(FRAME))
    code = (
        "import sys; sys.modules['droplab'] = None\n"
        "import json, numpy, torch\n"
        "told = {'droplab.json': ''}\n"
        "program = torch.export.load('m.pt2', extra_files=told).module()\n"
        "numpy.save('y.npy', program(torch.from_numpy(numpy.load('x.npy'))).numpy())\n"
        "print(json.loads(told['droplab.json'])['classes'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(list(info.classes)), done.stderr
    expected = plain(weights, info.preprocessing.transform(FRAME))
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, atol=1e-5)


def test_plain_tensors_carry_what_to_do_with_them(tmp_path):
    weights, info = model(scale=1 / 255)
    (tmp_path / "m.safetensors").write_bytes(to_bytes(weights, info))
    said = droplab("export", tmp_path / "m.safetensors", "--to", "safetensors", "--out", tmp_path / "t.safetensors")
    assert said.code == 0, said.errors
    found = load_file(tmp_path / "t.safetensors")
    with safe_open(tmp_path / "t.safetensors", "numpy") as file:
        told = json.loads(file.metadata()["droplab"])
    assert told["classes"] == ["a", "b", "c"]
    assert told["input"]["multiplied_by"] == pytest.approx(found["prepare.scale"])
    np.testing.assert_array_equal(found["layers.1.weight"], weights["layers.1.weight"])


def test_plain_tensors_of_a_table_and_several_networks_say_enough(table):
    weights, info = stacked([table, table])
    found = load(tensors(weights, info))
    assert found["layers.0.weight"].shape == (2, 8, info.features)
    codes = info.preprocessing.read(FRAME)
    filled = np.where(np.isnan(codes), found["prepare.fill"], codes)
    made = (filled - found["prepare.mean"]) / found["prepare.deviation"]
    if "prepare.edges" in found:
        made = np.interp(filled, found["prepare.edges"][:2], [0, 1])
    np.testing.assert_allclose(made[:, 0], info.preprocessing.transform(FRAME)[:, 0], atol=1e-6)


def test_a_network_of_the_catalog_needs_no_file_of_rows(tmp_path):
    digits = load_dataset("digits")
    weights, info = model(
        features=64,
        classes=digits.classes,
        scale=digits.scale,
        image_shape=(8, 8),
        data="digits",
        fingerprint=digits.fingerprint,
    )
    (tmp_path / "m.safetensors").write_bytes(to_bytes(weights, info))
    said = droplab("export", tmp_path / "m.safetensors", "--to", "onnx", "--out", tmp_path / "d.onnx")
    assert f"on {len(digits.test_y)} rows" in said.out
    x = digits.test_x[:5].astype("f4")
    np.testing.assert_allclose(run_onnx(tmp_path / "d.onnx", x), plain(weights, x * np.float32(info.scale)), atol=1e-5)


def test_a_network_that_says_something_else_is_not_exported(monkeypatch):
    monkeypatch.setattr(exporting, "LARGEST_DIFFERENCE", -1.0)
    weights, info = model()
    x = RANDOM.normal(size=(4, 6)).astype("f4")
    with pytest.raises(ExportError, match=r"on 4 rows the largest difference.*Nothing was written"):
        export(weights, info, "torch", x, x)


def test_without_the_packages_it_says_which_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    weights, info = model()
    x = RANDOM.normal(size=(4, 6)).astype("f4")
    with pytest.raises(ExportError, match=r"needs the packages of droplab\[onnx\]; found no onnxscript"):
        export(weights, info, "onnx", x, x)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "tensorflow"], "must be onnx, torch, safetensors; found 'tensorflow'"),
        (["--to", "onnx"], "(toy) are not at hand by that name. Name a file of rows: --check FILE"),
        (["--to", "safetensors", "--check", "people.csv"], "--check cannot act"),
        (["--to", "onnx", "--check", "none.csv"], "none.csv: no such file"),
        (["--to", "onnx", "--check", "short.csv"], "found no stamp, town, member"),
        (["--to", "torch", "--check", "people.csv", "--out", "m.safetensors"], "must not be what is read"),
        (["--to", "torch", "--check", "people.csv", "--out", "no/such/m.pt2"], "a folder that can be written"),
    ],
)
def test_a_wrong_export_is_one_clear_error_and_writes_nothing(table, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    FRAME[["age", "class"]].to_csv("short.csv", index=False)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    said = droplab("export", "m.safetensors", *arguments)
    assert said.code == 1
    assert words in said.errors
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_rows_of_a_network_that_has_no_catalog_data_must_be_named():
    with pytest.raises(ConfigError, match="--check FILE"):
        exporting.rows_of(model()[1], None, lambda _: None)
