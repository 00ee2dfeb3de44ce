"""Tables → data sets: reading, preprocessing, splitting, and what is wrong with a file."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from droplab.config import StudySettings
from droplab.data.cells import numbers_of
from droplab.data.contents import inspect
from droplab.data.files import load_dataset
from droplab.data.preprocessing import Preprocessing
from droplab.data.tables import MOST_COLUMNS, read_table
from droplab.errors import ConfigError, DataError, DroplabError
from droplab.inputs import features_of
from droplab.model.file import read
from droplab.study.lab import Lab, Warn
from droplab.train.answers import answers
from droplab.train.examples import Examples
from study_help import droplab

GOLDEN = Path(__file__).parent / "golden"
ROWS = 60
RANDOM = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "age": np.where(np.arange(ROWS) % 7 == 0, np.nan, RANDOM.normal(40, 10, ROWS).round(1)),
        "stamp": 1_700_000_000 + RANDOM.integers(0, 500, ROWS),
        "town": RANDOM.choice(["Ulm", "Bern", "São Paulo"], ROWS),
        "member": RANDOM.random(ROWS) > 0.5,
        "class": np.where(np.arange(ROWS) % 3 == 0, "yes, of course", "no"),
    }
)


def load(path, **given):
    return load_dataset(path, **{"target": "class", "notify": lambda _: None} | given)


@pytest.fixture
def table(tmp_path):
    FRAME.to_csv(tmp_path / "people.csv", index=False)
    return tmp_path / "people.csv"


def test_a_table_becomes_features_classes_and_splits(table):
    told = []
    dataset = load(table, notify=told.append)
    assert (dataset.name, dataset.classes) == ("people.csv", ("no", "yes, of course"))
    assert (len(dataset.train_y), len(dataset.test_y)) == (48, 12)
    assert dataset.test_y.sum() == 4  # the share of the whole, a third
    assert dataset.preprocessing.feature_names == (
        "age",
        "age is missing",
        "stamp",
        "town=Bern",
        "town=São Paulo",
        "town=Ulm",
        "member",
    )
    assert any("20% of the examples are the test split" in line for line in told)
    again = load(table)
    np.testing.assert_array_equal(again.test_x, dataset.test_x)
    assert again.fingerprint == dataset.fingerprint


def test_preprocessing_is_scikit_learns():
    """Its own transformers, as its users would put them together."""
    train, test = FRAME[:40], FRAME[40:]
    made = Preprocessing.fit(train.drop(columns="class"))
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=False), StandardScaler())
    theirs = ColumnTransformer([("numbers", numbers, ["age", "stamp"]), ("towns", OneHotEncoder(), ["town"])])
    theirs.fit(train)
    for rows in (train, test):
        said = made.transform(rows)
        expected = np.asarray(theirs.transform(rows))
        np.testing.assert_allclose(said[:, [0, 2]], expected[:, :2], atol=1e-5)
        np.testing.assert_array_equal(said[:, 3:6], expected[:, 2:])
        np.testing.assert_array_equal(said[:, 1], rows["age"].isna())


def test_preprocessing_sees_no_test_row(table, tmp_path):
    FRAME[:30].to_csv(tmp_path / "train.csv", index=False)
    odd = FRAME[30:].assign(age=1e6, town="Rome")
    odd.to_csv(tmp_path / "test.csv", index=False)
    dataset = load(tmp_path / "train.csv", test=str(tmp_path / "test.csv"))
    assert dataset.preprocessing == Preprocessing.fit(FRAME[:30].drop(columns="class"))
    names = dataset.preprocessing.feature_names
    assert not dataset.test_x[:, [names.index(n) for n in names if n.startswith("town=")]].any()


def test_preprocessing_is_plain_data():
    made = Preprocessing.fit(FRAME.drop(columns="class"))
    again = Preprocessing.model_validate_json(made.model_dump_json())
    assert again == made
    np.testing.assert_array_equal(again.transform(FRAME), made.transform(FRAME[FRAME.columns[::-1]]))


def test_large_numbers_keep_their_differences():
    made = Preprocessing.fit(FRAME[["stamp"]])
    np.testing.assert_allclose(
        made.transform(FRAME)[:, 0], StandardScaler().fit_transform(FRAME[["stamp"]])[:, 0], atol=1e-6
    )


def test_numbers_are_encoded_piecewise_linearly():
    """The share of each bin that lies below, bin by bin, by NumPy's interpolation."""
    train, test = FRAME[:40].drop(columns="class"), FRAME[40:].assign(age=[-5.0, np.nan, 1e9, *FRAME.age[43:]])
    train = train.assign(rooms=np.arange(40) % 4)
    made = Preprocessing.fit(train, numeric_encoding="piecewise_linear")
    age, stamp, _, member, rooms = made.columns
    quantiles = np.quantile(train["age"].dropna(), np.linspace(0, 1, 17))
    np.testing.assert_array_equal(age.edges, np.unique(quantiles))
    assert (len(stamp.edges), rooms.edges, member.edges) == (17, (0, 1, 2, 3), ())
    for rows in (train, test.assign(rooms=[9, -1, 2, 3] * 5)):
        said = pd.DataFrame(made.transform(rows), columns=made.feature_names)
        for name, edges in (("age", age.edges), ("stamp", stamp.edges), ("rooms", rooms.edges)):
            values = rows[name].fillna(train[name].median())
            for k in range(1, len(edges)):
                share = np.interp(values, edges[k - 1 : k + 1], [0, 1])
                np.testing.assert_allclose(said[f"{name} bin {k}"], share, atol=1e-6)
        np.testing.assert_array_equal(said["age is missing"], rows["age"].isna())
        assert set(np.sign(said["member"])) == {-1, 1}  # two values are centred and scaled as ever
    assert Preprocessing.model_validate_json(made.model_dump_json()) == made
    assert "3 of them as shares of at most 16 bins" in made.words


def test_an_encoding_is_told_only_where_there_is_one(table):
    """Keys, fingerprints and files of before are what they were."""
    plain, encoded = load(table), load(table, numeric_encoding="piecewise_linear")
    assert "edges" not in plain.preprocessing.model_dump_json()
    assert plain.fingerprint != encoded.fingerprint
    settings = StudySettings.parse({"data": str(table), "target": "class", "widths": [4]})
    assert "numeric_encoding" not in settings.told()
    chosen = settings.override(numeric_encoding="piecewise_linear")
    assert chosen.told()["numeric_encoding"] == chosen.reading["numeric_encoding"] == "piecewise_linear"
    with pytest.raises(ConfigError, match="numeric_encoding can act on columns of a table"):
        load_dataset("digits", numeric_encoding="piecewise_linear")


def test_what_never_changes_is_left_out_and_said(tmp_path):
    FRAME.assign(unit="cm", empty=np.nan).to_csv(tmp_path / "t.csv", index=False)
    dataset = load(tmp_path / "t.csv")
    assert not {"unit", "empty"} & {column.name for column in dataset.preprocessing.columns}
    assert dataset.preprocessing.left_out == ("unit", "empty")
    assert any("left out: unit, empty" in finding for finding in dataset.look.findings)


def test_columns_names_are_part_of_the_fingerprint(table, tmp_path):
    FRAME.rename(columns={"age": "years"}).to_csv(tmp_path / "other.csv", index=False)
    assert load(table).fingerprint != load(tmp_path / "other.csv").fingerprint


@pytest.mark.parametrize(
    ("labels", "classes", "as_written"),
    [
        ([3, -1, 10] * 20, ("-1", "3", "10"), ("-1", "3", "10")),
        ([2.0, 1.0] * 30, ("1", "2"), ("1.0", "2.0")),
        ([True, False] * 30, ("False", "True"), ("False", "True")),
        (["b", "a"] * 30, ("a", "b"), ("a", "b")),
        (["02", "01"] * 30, ("01", "02"), ("01", "02")),
        (["NA", "null"] * 30, ("NA", "null"), ("NA", "null")),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_labels_of_any_type_are_kept_by_name(tmp_path, labels, classes, as_written, ending):
    """A text file's as they are written there; a whole number of any other type without a point."""
    frame = FRAME.assign(**{"class": labels})
    path = tmp_path / f"t.{ending}"
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
    assert load(path).classes == (as_written if ending == "csv" else classes)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b"\xef\xbb\xbf" + FRAME.to_csv(index=False).encode()),
        lambda path: path.write_text(FRAME.to_csv(index=False, sep=";"), encoding="utf-8"),
        lambda path: path.write_text(FRAME.to_csv(index=False, sep="\t"), encoding="utf-8"),
        lambda path: path.write_bytes(gzip.compress(FRAME.to_csv(index=False).encode())),
        lambda path: path.write_text(FRAME.to_csv(index=False, lineterminator="\r\n"), encoding="utf-8", newline=""),
        FRAME.to_parquet,
    ],
    ids=["BOM", "semicolons", "tabs", "gzip", "CRLF", "Parquet under another name"],
)
def test_tables_come_in_many_forms(table, tmp_path, write):
    write(tmp_path / "form.csv")
    np.testing.assert_array_equal(load(tmp_path / "form.csv").train_x, load(table).train_x)


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(-1e9, 1e9)),
            st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=5).map(lambda t: f"x{t}"),
            st.sampled_from(["p", "q"]),
        ),
        min_size=4,
        max_size=30,
    )
)
@settings(max_examples=60, deadline=None)
def test_a_table_comes_back_as_it_was_written(tmp_path_factory, rows):
    frame = pd.DataFrame(rows, columns=["number", 'text, "quoted"', "class"])
    path = tmp_path_factory.mktemp("round") / "t.csv"
    frame.to_csv(path, index=False)
    read = read_table(path)
    assert list(read.columns) == list(frame.columns)
    numbers, fault = numbers_of(read.columns["number"])
    assert fault is None
    np.testing.assert_array_equal(numbers, frame["number"].astype(float))
    assert read.columns['text, "quoted"'].to_pylist() == frame.iloc[:, 1].tolist()


CSV = FRAME.to_csv(index=False)
FAULTS = {
    "empty": (b"", "found nothing in it"),
    "no rows": (b"age,class\n", "at least one row"),
    "only empty lines": (b"\n\n\n", "empty lines"),
    "too long a row": (b"age,class\n1,a\n2,b,9\n", "names .2.; found 3 cells in row 2: '2,b,9'. Correct the row"),
    "too short a row": (b"age,class\n1,a\n2\n", "names .2.; found 1 cells in row 2: '2'. Correct the row"),
    "no header": (b"1,2,3\n4,5,6\n", "first line must name the columns; found numbers"),
    "no name": (b"age,,class\n1,2,a\n", "found none for column 2"),
    "twice": (b"age,age,class\n1,2,a\n", "'age' twice"),
    "Latin 1": ("town,class\nZürich,a\n".encode("latin-1"), "UTF-8; found byte 0xfc at 12"),
    "binary": (b"age,class\n\0\0\0,a\n", "zero byte"),
    "half a gzip": (gzip.compress(CSV.encode())[:-20], "sound gzip"),
    "a bomb": (gzip.compress(b"a,y\n" + b"1,1\n" * (20 << 20)), "bomb"),
    "half a Parquet": (b"PAR1" + b"x" * 100, "sound Parquet"),
    "too wide": (",".join(f"c{i}" for i in range(MOST_COLUMNS + 1)).encode() + b"\n", "10,001"),
    "no target": (b"age,klass\n1,a\n", "Did you mean 'klass'"),
    "a row without class": (b"age,class\n1,a\n2,\n3,b\n", "found none in row 2"),
    "two rows with numbers": (b"age,class\n1,0.5\n2,0.25\n", "a split needs 4 examples"),
    "text among numbers": (b"age,class\n" + b"1,a\n2,b\n" * 9 + b"x2,a\n3,b\n", "'age' must hold.*'x2' in row"),
    "infinite": (b"age,class\n" + b"1,a\n2,b\n" * 9 + b"inf,a\n3,b\n", "finite.*inf"),
    "dates": (b"day,class\n" + b"2024-01-02,a\n2024-01-03,b\n" * 9, "'day' must.*found dates"),
    "identifiers": (
        b"id,class\n" + b"".join(b"k%d,%d\n" % (i, i % 2) for i in range(2000)),
        "at most 1,000 categories",
    ),
    "one class": (b"age,class\n" + b"1,a\n2,a\n" * 5, "at least 2 classes"),
    "a class with one member": (b"age,class\n" + b"1,a\n2,a\n" * 5 + b"3,b\n", "at least 2 members"),
    "as many classes as rows": (b"age,class\n" + b"".join(b"1,c%d\n" % i for i in range(9)), "as many classes"),
    "nothing but the target": (b"class\n" + b"a\nb\n" * 9, "column that changes"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_wrong_table_is_one_clear_error(tmp_path, name):
    content, words = FAULTS[name]
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"(?s){words}"):
        load(path)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"target": None}, "needs target.*age, stamp"),
        ({"test": "1.5"}, "share of the examples between 0 and 1; found 1.5"),
        ({"test": "nowhere.csv"}, "no such file"),
    ],
)
def test_a_wrong_choice_is_one_clear_error(table, given, words):
    with pytest.raises(DroplabError, match=words):
        load(table, **given)


def test_a_test_table_without_a_column_is_an_error(table, tmp_path):
    FRAME.drop(columns="town").to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(DataError, match="found no town"):
        load(table, test=str(tmp_path / "test.csv"))


def test_target_is_for_tables():
    with pytest.raises(ConfigError, match="columns of a table"):
        load_dataset("digits", target="class")


def test_inspect_tells_a_tables_columns(table):
    told = {column.name: column for column in inspect(table).arrays}
    assert told["age"].dtype == f"number, {FRAME['age'].isna().sum()} missing"
    assert told["member"].dtype == "number (true or false)"
    assert told["town"].dtype == "category"
    assert (told["stamp"].low, told["stamp"].high) == (FRAME["stamp"].min(), FRAME["stamp"].max())
    assert told["class"].counts == {"no": 40, "yes, of course": 20}
    assert told["class"].low is None


@pytest.mark.parametrize("groups", [None, "patient"])
def test_preprocessing_sees_no_valid_row(tmp_path, groups):
    """The rows that a study's valid split holds out are exactly those that it is not fitted on."""
    frame = FRAME.assign(patient=np.arange(ROWS) // 2)
    frame.to_csv(tmp_path / "t.csv", index=False)
    dataset = load(tmp_path / "t.csv", groups=groups, valid_fraction=0.25, split_seed=7)
    rows = Examples.of(dataset, 0.25, 7).train.rows.numpy()
    trained_on = frame.iloc[np.sort(dataset.places[0][rows] - 1)]
    features = trained_on.drop(columns=["class", "patient"] if groups else ["class"])
    assert dataset.preprocessing == Preprocessing.fit(features)
    assert dataset.preprocessing != load(tmp_path / "t.csv", groups=groups).preprocessing


def test_a_studys_preprocessing_is_that_of_its_own_split(table):
    settings = StudySettings.parse({"data": str(table), "target": "class", "widths": [4], "valid_fraction": 0.25})
    dataset = Lab(observer=Warn(lambda _: None)).read(settings.data, **settings.reading).dataset
    assert dataset.preprocessing == load(table, valid_fraction=0.25, split_seed=settings.split_seed).preprocessing


def test_evaluate_makes_features_as_the_network_was_trained_with(table, tmp_path):
    """Rows of another table, whose own mean and categories are others."""
    done = droplab(
        "fit", table, "--target", "class", "--epochs", "1", "--store", tmp_path / "s", "--out", tmp_path / "m"
    )
    assert done.code == 0, done.errors
    weights, info = read(tmp_path / "m")
    odd = FRAME.assign(age=FRAME.age + 30, town="Ulm")
    odd.to_csv(tmp_path / "odd.csv", index=False)
    said = droplab("evaluate", tmp_path / "m", "--data", table, "--target", "class", "--test", tmp_path / "odd.csv")
    features = info.preprocessing.transform(odd)
    right = answers(weights, info, features)["off"].logs.argmax(axis=1) == (odd["class"] != "no")
    assert f"dropout off: accuracy {right.mean():.4f}" in said.out
    other = droplab("evaluate", tmp_path / "m", "--data", "digits")
    assert "takes a table with columns as those it was trained on" in other.errors


def test_a_table_and_a_model_of_before_are_what_they_were(tmp_path):
    """`tests/golden/table-format-2.*` were written by droplab before columns were decided once."""
    told = json.loads((GOLDEN / "table-format-2.json").read_text("utf-8"))
    (tmp_path / "people.csv").write_text(told["rows"], "utf-8")
    assert load(tmp_path / "people.csv").fingerprint == told["fingerprint"]
    weights, info = read(GOLDEN / "table-format-2.safetensors")
    logs = answers(weights, info, features_of(info, str(tmp_path / "people.csv"), print))["off"].logs
    np.testing.assert_allclose(np.exp(logs[:, 1]), told["p_yes"], atol=1e-5)


def test_an_error_is_one_line_whatever_a_name_holds(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,y\n1,u\n2,u\n3,"two\r\nlines"\n')
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path / "t.csv", target="y", notify=lambda _: None)
    assert "found 1 of class two lines" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
