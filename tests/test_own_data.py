"""Own data through the command line: a row means the same in every file, and what is guessed or lacking is said."""

import io
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from droplab.data.files import load_dataset
from droplab.data.tables import read_table
from droplab.errors import DataError
from droplab.inputs import pieces
from droplab.model.file import ModelInfo, read, to_bytes
from droplab.predict import predict
from study_help import droplab

QUICK = ("--epochs", "40", "--widths", "16", "--dropout", "0.5", "--batch-size", "16", "--learning-rate", "0.02")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DROPLAB_STORE", str(tmp_path / "s.db"))
    return tmp_path


def write(name, frame):
    """A CSV with cells as the frame's texts, or a Parquet of its types."""
    frame.to_parquet(name) if name.endswith(".parquet") else frame.to_csv(name, index=False)
    return name


def fitted(name, *more):
    done = droplab("fit", name, "--target", "y", *QUICK, *more)
    assert done.code == 0, done.errors
    return done


def accuracy(name, test, *more):
    done = droplab("evaluate", "t.safetensors", "--data", name, "--target", "y", "--test", test, *more)
    assert done.code == 0, done.errors
    return float(re.search(r"dropout off: accuracy (\S+),", done.out)[1]), done.errors


def said_of(name):
    done = droplab("predict", "t.safetensors", name, "--probabilities", "--format", "csv")
    assert done.code == 0, done.errors
    return pd.read_csv(io.StringIO(done.out), keep_default_na=False, dtype={"class": str}), done.errors


CODES = {
    "truth": (["true", "false", "unknown"], 2),
    "codes": (["01", "02", "A1"], 2),
    "digits": (["1", "2", "A"], 2),
    "zip": (["00501", "10001", "x"], 2),
    "phone": (["+49151", "+43660", "none given"], 2),
    "hex": (["0x1f", "0x2a", "zz"], 2),
}


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_category_is_spelt_alike_whatever_stands_beside_it(folder, kind, form):
    texts, few = CODES[kind]
    train = pd.DataFrame({"c": texts * 30, "n": np.arange(90) % 5})
    train["y"] = np.where(train.c == texts[0], "T", "O")
    test = train[train.c.isin(texts[:few])].reset_index(drop=True)
    fitted(write("t.csv", train))
    found, errors = accuracy("t.csv", write(f"test.{form}", test))
    assert found == 1
    assert "category" not in errors
    alone, together = (said_of(write(f"p{k}.{form}", part))[0] for k, part in enumerate((test[:2], train[:3])))
    np.testing.assert_allclose(alone.p_T, together.p_T[:2], atol=1e-6)
    assert alone["class"].tolist() == together["class"].tolist()[:2] == ["T", "O"]


def numbers_of_a_table():
    random = np.random.default_rng(7)
    price = np.round(random.uniform(1, 9999, 120), 2)
    return price, np.where(price > 5000, "hi", "lo")


@pytest.mark.parametrize("form", ["plain", "decimal", "comma", "thousands", "percent", "currency", "quoted"])
def test_numbers_are_numbers_however_they_arrive(folder, form):
    price, y = numbers_of_a_table()
    texts = {
        "plain": [repr(float(p)) for p in price],
        "comma": [f"{p:.2f}".replace(".", ",") for p in price],
        "thousands": [f"{p:,.2f}" for p in price],
        "percent": [f"{p} %" for p in price],
        "currency": [f"${p:,.2f}" for p in price],
        "quoted": [f'{p} "'[:-2] for p in price],
    }
    if form == "decimal":
        table = pa.table({"price": pa.array([Decimal(f"{p:.2f}") for p in price], pa.decimal128(9, 2)), "y": y})
        parquet.write_table(table, "t.parquet")
        name = "t.parquet"
    else:
        name = "t.csv"
        pd.DataFrame({"price": texts[form], "y": y}).to_csv(name, index=False, sep=";" if form == "comma" else ",")
    dataset = load_dataset(name, target="y", notify=lambda _: None)
    assert dataset.preprocessing.feature_names == ("price",)
    pd.DataFrame({"price": price, "y": y}).to_parquet("plain.parquet")
    np.testing.assert_array_equal(
        dataset.train_x, load_dataset("plain.parquet", target="y", notify=lambda _: None).train_x
    )


@pytest.mark.parametrize("slip", ["?", "-", "n.a.", "<5"])
def test_a_slip_in_a_row_held_out_is_named_and_changes_no_column(folder, slip):
    price, y = numbers_of_a_table()
    frame = pd.DataFrame({"price": price.astype(str), "y": y})
    held = load_dataset(write("t.csv", frame), target="y", notify=lambda _: None).places[1][0]
    frame.loc[held - 1, "price"] = slip
    done = droplab("fit", write("t.csv", frame), "--target", "y", *QUICK)
    assert done.code == 1
    assert f"t.csv: column 'price' must hold finite numbers or nothing; found {slip!r} in row {held}" in done.errors
    assert f"--missing {slip!r}" in done.errors
    assert droplab("fit", "t.csv", "--target", "y", *QUICK, "--missing", slip).code == 0
    new = write("new.csv", pd.DataFrame({"price": ["1.5", slip]}))
    assert said_of(new)[1].count("cells are empty in columns where no training row lacked a value") == 1


def test_the_words_of_a_user_are_kept_in_the_model(folder):
    frame = pd.DataFrame({"zip": [1, 2, 3, 4] * 20, "n": ["1", "?", "3", "4"] * 20, "y": ["a", "b", "a", "b"] * 20})
    fitted(
        write("t.csv", frame.assign(id=frame.index)),
        "--columns",
        "zip=category",
        "--columns",
        "id=ignore",
        "--missing",
        "?",
        "--numeric-encoding",
        "standard",
    )
    info = read("t.safetensors")[1]
    assert info.preprocessing.feature_names == ("zip=1", "zip=2", "zip=3", "zip=4", "n", "n is missing")
    assert said_of("t.csv")[0]["class"].tolist() == frame.y.tolist()
    Path("s.toml").write_text(
        'data = "t.csv"\ntarget = "y"\nwidths = [4]\nepochs = 1\nseeds = 2\nmissing = "?"\n'
        '[columns]\nzip = "category"\nid = "ignore"\n'
    )
    done = droplab("study", "s.toml", "--out", "out")
    assert done.code == 0, done.errors
    assert "columns taken for numbers: n; categories: zip (4)" in done.out
    assert read("out/models/best.safetensors")[1].preprocessing.feature_names == info.preprocessing.feature_names
    Path("s.toml").write_text(Path("s.toml").read_text().replace("category", "categry"))
    wrong = droplab("study", "s.toml")
    assert "column 'zip' must be number, category, ignore, not 'categry'" in wrong.errors


@pytest.mark.parametrize("labels", [["01", "02", "10"], ["1", "2", "x"], ["NA", "null", "ok"], ["true", "false", "?"]])
def test_labels_come_back_as_they_were_written(folder, labels):
    frame = pd.DataFrame({"n": np.tile(np.arange(3.0), 30), "y": labels * 30})
    fitted(write("t.csv", frame))
    assert said_of("t.csv")[0]["class"].tolist() == frame.y.tolist()
    found, _ = accuracy("t.csv", write("few.csv", frame[frame.y.isin(labels[:2])]))
    assert found == 1
    odd = write("odd.csv", frame.assign(y=["new", *frame.y[1:]]))
    wrong = droplab("evaluate", "t.safetensors", "--data", "t.csv", "--target", "y", "--test", odd)
    assert wrong.code == 1
    assert f"'y' must hold classes of training ({', '.join(sorted(labels))}); found 'new' in row 1" in wrong.errors
    assert droplab("fit", "t.csv", "--target", "y", "--test", odd, "--force").code == 1


def test_labels_of_a_typed_file_are_those_of_a_text_file(folder):
    frame = pd.DataFrame({"n": np.tile(np.arange(2.0), 40), "y": [1, 2] * 40})
    fitted(write("t.csv", frame))
    for typed in (frame, frame.astype({"y": float}), frame.astype({"y": str})):
        assert accuracy("t.csv", write("test.parquet", typed))[0] == 1


def test_groups_that_two_files_type_differently_do_overlap(folder):
    frame = pd.DataFrame({"n": np.arange(60.0), "g": ["01", "02", "x"] * 20, "y": ["a", "b"] * 30})
    write("t.csv", frame)
    for other in (frame[frame.g != "x"], *(frame[frame.g == "02"].assign(g=g) for g in (" 02", "2", "X", "2.0"))):
        write("test.csv", other)
        done = droplab("fit", "t.csv", "--target", "y", "--groups", "g", "--test", "test.csv", *QUICK)
        assert "no group may be in train and test" in done.errors
    write("t.csv", frame.assign(g=np.arange(60) % 3))
    write("test.parquet", frame.assign(g=np.arange(60) % 3 + 0.0))
    done = droplab("fit", "t.csv", "--target", "y", "--groups", "g", "--test", "test.parquet", *QUICK)
    assert "no group may be in train and test; found 3" in done.errors


def test_categories_that_training_lacks_are_said_everywhere(folder):
    frame = pd.DataFrame({"town": ["Ulm", "Bern"] * 40, "n": np.arange(80.0) % 7, "y": ["a", "b"] * 40})
    new = write("new.csv", frame[:10].assign(town=["Rome"] * 3 + ["Ulm"] * 7))
    words = "3 of 10 rows have a category that training lacks, which says nothing to the network (town: 'Rome')"
    assert words in fitted(write("t.csv", frame), "--test", new).out
    assert words in accuracy("t.csv", new)[1]
    assert words in said_of(new)[1]


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("1e300", "column 'n' must hold finite numbers or nothing; found '1e300' in row 2"),
        ("2024-01-02", "found '2024-01-02' in row 2"),
        ("1700000000", None),
    ],
)
def test_what_cannot_be_is_no_answer(folder, cell, words):
    frame = pd.DataFrame({"n": np.arange(80.0) % 7, "y": ["a", "b"] * 40})
    fitted(write("t.csv", frame))
    new = write("new.csv", pd.DataFrame({"n": ["1", cell]}))
    done = droplab("predict", "t.safetensors", new, "--format", "csv")
    if words is None:
        assert "numbers are over 1,000 deviations from those of training (n: 1.7e+09 in row 2)" in done.errors
        return
    assert (done.code, done.out) == (1, "")
    assert re.search(words, done.errors)
    wrong = droplab(
        "evaluate", "t.safetensors", "--data", "t.csv", "--target", "y", "--test",
        write("test.csv", pd.DataFrame({"n": ["1", cell], "y": ["a", "b"]})),
    )  # fmt: skip
    assert wrong.code == 1
    assert "row 2" in wrong.errors


TEXTS = st.sampled_from(
    ["true", "False", "TRUE", "unknown", "01", "1", "1.0", "2", "A1", "NA", "n/a", "?", "Ulm", "ulm ", "x,y", "é"]
)
NUMBERS = st.one_of(
    st.sampled_from(["", "NA", "1", "1.5", "-2", "1e3", ".5", "1.", "0"]),
    st.floats(-1e6, 1e6).map(lambda value: f"{value:.3f}"),
)


@st.composite
def tables(draw):
    """Rows of text cells, with a column of classes that stands for something."""
    rows = draw(st.integers(12, 40))
    columns = {
        f"c{k}": draw(st.lists(draw(st.sampled_from([TEXTS, NUMBERS])), min_size=rows, max_size=rows))
        for k in range(draw(st.integers(1, 4)))
    }
    return pd.DataFrame(columns | {"y": (["a", "b", "01"] * rows)[:rows]})


@given(tables(), st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_rows_answer_never_depends_on_its_neighbours_in_the_file(tmp_path_factory, frame, data):
    """Of random tables, parted into files in any way, as CSV or as Parquet."""
    folder = tmp_path_factory.mktemp("rows")
    frame.to_csv(folder / "t.csv", index=False)
    try:
        dataset = load_dataset(folder / "t.csv", target="y", notify=lambda _: None)
    except DataError:
        return  # one clear error; which is held elsewhere
    random = np.random.default_rng(0)
    info = ModelInfo(
        widths=(5,), dropout=0.0, features=dataset.features, classes=dataset.classes, scale=1.0, image_shape=None,
        data="t", fingerprint="", key="", precision="fp32", preprocessing=dataset.preprocessing,
    )  # fmt: skip
    weights = {name: random.normal(size=shape).astype("f4") for name, shape in info.shapes.items()}
    (folder / "m.safetensors").write_bytes(to_bytes(weights, info))
    weights, info = read(folder / "m.safetensors")

    def answers(name):
        parts = [
            predict(weights, info, piece.features, probabilities=True)
            for piece in pieces(info, [str(folder / name)], lambda _: None)
        ]
        return pd.concat(parts).drop(columns="row").reset_index(drop=True)

    whole = answers("t.csv")
    assert (whole["class"].to_numpy()[dataset.places[0] - 1] != "").all()
    chosen = data.draw(st.lists(st.integers(0, len(frame) - 1), min_size=1, max_size=12))
    order = data.draw(st.permutations(list(frame.columns)))
    part = frame.iloc[chosen][order]
    part.to_csv(folder / "p.csv", index=False)
    lines = (folder / "p.csv").read_text().replace("\n", "\r\n")
    (folder / "crlf.csv").write_text(lines, newline="")
    texts = {name: read_table(folder / "t.csv").columns[name].take(pa.array(chosen)) for name in frame}
    parquet.write_table(pa.table({name: texts[name] for name in order}), folder / "p.parquet")
    for name in ("p.csv", "crlf.csv", "p.parquet"):
        found = answers(name)
        np.testing.assert_allclose(found.iloc[:, 1:], whole.iloc[chosen, 1:], atol=1e-5)
    for k in chosen[:3]:
        frame.iloc[[k]].to_csv(folder / "one.csv", index=False)
        np.testing.assert_allclose(
            answers("one.csv").iloc[0, 1:].astype(float), whole.iloc[k, 1:].astype(float), atol=1e-5
        )


@pytest.mark.slow
def test_a_large_table_is_answered_with_flat_memory(folder):
    """Four times the rows take no more memory; of each, every row has its answer."""
    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.normal(size=(400, 20)).round(3)).rename(columns=lambda k: f"n{k}")
    fitted(write("t.csv", frame.assign(y=np.where(frame.n0 > 0, "a", "b"))))
    code = (
        "import resource, sys; from droplab.cli import main\n"
        "try: main()\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    peaks = []
    for times in (250, 1000):
        text = frame.to_csv(index=False, header=False)
        Path("new.csv").write_text(",".join(frame.columns) + "\n" + text * times)
        arguments = ["predict", "t.safetensors", "new.csv", "--format", "csv", "--out", "said.csv", "--force"]
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert len(pd.read_csv("said.csv")) == 400 * times
        peaks.append(int(done.stderr.split()[-1]) / 1024)
    assert peaks[1] < peaks[0] + 100, peaks
