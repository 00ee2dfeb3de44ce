"""CSV and Parquet files as people have them → cells, or one error that names the row."""

import gzip
import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from droplab.data.files import load_dataset
from droplab.data.tables import pieces_of, read_table
from droplab.errors import ConfigError, DataError

RANDOM = np.random.default_rng(2)
FRAME = pd.DataFrame(
    {
        "age": RANDOM.normal(40, 9, 60).round(1),
        "town": RANDOM.choice(["Ulm", "Bern"], 60),
        "class": ["a", "b", "b"] * 20,
    }
)


def cells(path, content, **given):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return {name: column.to_pylist() for name, column in read_table(path, **given).columns.items()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "t.csv"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('"name, first, last";age\n"x, y, z";3\n', {"name, first, last": ["x, y, z"], "age": ["3"]}),
        ("a;b\n1,5;2\n3,5;4\n", {"a": ["1,5", "3,5"], "b": ["2", "4"]}),
        ("a,b\nx;y,1\nz;w,2\n", {"a": ["x;y", "z;w"], "b": ["1", "2"]}),
        ("a\tb, c\n1\t2, 3\n", {"a": ["1"], "b, c": ["2, 3"]}),
        ("sep=;\r\na;b\r\n1;2\r\n", {"a": ["1"], "b": ["2"]}),
        ("sep=|\na|b\n1|2\n", {"a": ["1"], "b": ["2"]}),
        ("\n\na,b\n\n1,2\n\n", {"a": ["1"], "b": ["2"]}),
        ("a,b\r1,2\r", {"a": ["1"], "b": ["2"]}),
        ("\ufeffa,b\n1,2\n", {"a": ["1"], "b": ["2"]}),
        ('"a\nb",c\n1,2\n', {"a\nb": ["1"], "c": ["2"]}),
        ('a,b\n"x\ny","say ""hi"""\n', {"a": ["x\ny"], "b": ['say "hi"']}),
        ("a,b\n1,2", {"a": ["1"], "b": ["2"]}),
        ("a\n1\n2\n", {"a": ["1", "2"]}),
        ("a\u2028z,b\x0c\n1,2\n", {"a\u2028z": ["1"], "b": ["2"]}),
        ("a,b\n1," + "z" * 200_000 + "\n", {"a": ["1"], "b": ["z" * 200_000]}),
    ],
)
def test_a_file_is_read_by_the_separator_that_its_rows_have(path, content, expected):
    assert cells(path, content) == expected


def test_only_cells_without_quotes_say_that_a_value_is_missing(path):
    content = 'code,n\nNA,1\n"NA",2\nnull,NA\n,""\n" ","NA"\n'
    assert cells(path, content) == {"code": [None, "NA", None, None, None], "n": ["1", "2", None, None, "NA"]}
    assert cells(path, content, written=["code"])["code"] == ["NA", "NA", "null", None, None]
    assert cells(path, content, missing=["2"])["n"] == ["1", None, None, None, "NA"]
    assert cells(path, content, missing=["2"], written=["n"])["n"] == ["1", "2", "NA", None, "NA"]


def test_a_users_marks_are_missing_in_typed_columns_too(tmp_path):
    pd.DataFrame({"n": [1, -999, 3], "t": ["x", "?", " ? "]}).to_parquet(tmp_path / "t.parquet")
    found = read_table(tmp_path / "t.parquet", missing=["-999", "?"]).columns
    assert found["n"].to_pylist() == [1, None, 3]
    assert found["t"].to_pylist() == ["x", None, None]


@pytest.mark.parametrize("mark", ["-999", "-999.0"])
@pytest.mark.parametrize("written", ["-999", "-999.0"])
def test_a_mark_that_is_a_number_is_met_by_its_value(tmp_path, mark, written):
    (tmp_path / "t.csv").write_text(f"n\n1\n{written}\n")
    assert read_table(tmp_path / "t.csv", missing=[mark]).columns["n"].to_pylist() == ["1", None]
    pd.DataFrame({"n": [1, float(written)]}).to_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet", missing=[mark]).columns["n"].to_pylist() == [1, None]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n1,2\n3,4,5\n6,7\n", "found 3 cells in row 2: '3,4,5'"),
        ("a,b\n1,2\n3\n", "found 1 cells in row 2: '3'"),
        ('a,b\n1,"x\n2,y\n', "each quote must be closed; found one open from row 1 to the end"),
        ("5.1,3.5,1.4,0.2,setosa\n4.9,3,1.4,0.2,setosa\n", "found numbers .5.1, 3.5, 1.4, 0.2., as in a row"),
        ("1;2,5;x\n3;4,5;y\n", "found numbers"),
        ("a,b\n", "at least one row"),
        ("sep=;\n", "nothing but empty lines|names of its columns"),
        ("a,b,a\n1,2,3\n", "'a' twice"),
        ("a, a\n1,2\n", "'a' twice"),
        ("a,b\n\xff,1\n".encode("latin-1"), "UTF-8; found byte 0xff at 4"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-8; found byte 0xff at 0"),
        (b"a,b\n1,\0\n", "zero byte at 6"),
        (gzip.compress(b"a,b\n1,2\n" * 999)[:-9], "sound gzip file"),
        (gzip.compress(b"a,b\n" + b"1,2\n" * (20 << 20)), "bomb"),
    ],
)
def test_a_damaged_file_is_one_error_that_says_where(path, content, words):
    with pytest.raises(DataError, match=words) as raised:
        cells(path, content)
    assert str(path) in str(raised.value)


def test_names_that_count_are_names(path):
    names = [str(k) for k in range(1, 13)]
    content = ",".join([*names, "class"]) + "\n" + ",".join(["1"] * 12 + ["a"]) + "\n"
    assert list(cells(path, content)) == [*names, "class"]


@pytest.mark.parametrize("text", ["age class\n1 a\n2 b\n", "age:class\n1:a\n"])
def test_a_file_without_a_separator_says_so(path, text):
    path.write_text(text)
    with pytest.raises(DataError, match=r"no separator .* was found"):
        load_dataset(path, target="class", notify=lambda _: None)


def loaded(path, told=None, **given):
    return load_dataset(path, target="class", notify=(told if told is not None else []).append, **given)


def test_spaces_around_names_are_left_out_and_said(tmp_path):
    (tmp_path / "t.csv").write_text(FRAME.to_csv(index=False).replace("age,town", " age , town"))
    told = []
    assert loaded(tmp_path / "t.csv", told).preprocessing.columns[0].name == "age"
    assert any("spaces around names of columns are left out: age, town" in line for line in told)


@pytest.mark.parametrize("start", [0, 1])
def test_an_index_without_a_name_is_left_out_and_said(tmp_path, start):
    frame = FRAME.set_axis(np.arange(60) + start)
    frame.to_csv(tmp_path / "t.csv")
    told = []
    dataset = loaded(tmp_path / "t.csv", told)
    FRAME.to_csv(tmp_path / "plain.csv", index=False)
    np.testing.assert_array_equal(dataset.train_x, loaded(tmp_path / "plain.csv").train_x)
    assert any("column 1 is left out: it has no name, and counts rows" in line for line in told)


def test_a_column_without_a_name_that_may_matter_is_an_error(tmp_path):
    FRAME.rename(columns={"age": ""}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match="each column must have a name; found none for column 1"):
        loaded(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "index",
    [
        [f"p{k}" for k in range(60)],
        pd.date_range("2024-01-01", periods=60),
        [7] * 60,
        pd.MultiIndex.from_product([list("xyz"), range(20)]),
        np.arange(60) * 2 + 5,
    ],
    ids=["texts", "moments", "repeated", "two", "filtered"],
)
def test_the_index_of_a_pandas_table_is_no_column(tmp_path, index):
    FRAME.set_axis(index).to_parquet(tmp_path / "t.parquet")
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    np.testing.assert_array_equal(loaded(tmp_path / "t.parquet").train_x, loaded(tmp_path / "t.csv").train_x)


def test_rows_of_a_filtered_table_are_counted_as_its_file_has_them(tmp_path):
    frame = pd.concat([FRAME, FRAME]).query("town == 'Ulm' or age > 0").iloc[::2].copy()
    frame.iloc[9, 0] = np.inf
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"column 'age' must hold finite numbers.*found 'inf' in row 10"):
        loaded(tmp_path / "t.parquet")


def test_an_index_may_hold_the_classes_or_groups(tmp_path):
    FRAME.set_index("class").to_parquet(tmp_path / "t.parquet")
    assert loaded(tmp_path / "t.parquet").classes == ("a", "b")
    FRAME.assign(p=np.arange(60) // 2).set_index("p").to_parquet(tmp_path / "g.parquet")
    assert loaded(tmp_path / "g.parquet", groups="p").train_groups is not None


@pytest.mark.parametrize("metadata", [b"{", b"[]", b'{"index_columns": 3}', b'{"index_columns": [["x"], {}]}', b"\xff"])
def test_damaged_pandas_metadata_are_no_fault_of_the_cells(tmp_path, metadata):
    table = pa.Table.from_pandas(FRAME).replace_schema_metadata({b"pandas": metadata})
    parquet.write_table(table, tmp_path / "t.parquet")
    assert loaded(tmp_path / "t.parquet").classes == ("a", "b")


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([[1, 2]] * 60), "column 'odd' must hold one value a row; found list"),
        (pa.array([{"a": 1}] * 60), "column 'odd' must hold one value a row; found struct"),
        (pa.array([b"\xff\xfe"] * 60), "column 'odd' must hold one value a row; found binary"),
        (pa.array([1e200, 1.0] * 30), r"found '1e\+200' in row \d*[13579]\."),
        (pa.array([2**63 - 1, 1] * 30), r"found '9223372036854775807' in row \d*[13579]\."),
        (pa.array([2**64 - 1, 1] * 30, pa.uint64()), r"found '18446744073709551615' in row \d*[13579]\."),
    ],
)
def test_a_parquet_column_that_is_no_feature_is_named_and_can_be_left_out(tmp_path, column, words):
    parquet.write_table(pa.Table.from_pandas(FRAME).append_column("odd", column), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=words):
        loaded(tmp_path / "t.parquet")
    assert loaded(tmp_path / "t.parquet", columns={"odd": "ignore"}).features == 3


def test_messages_hold_no_names_of_other_libraries(tmp_path):
    for value in ("inf", "1e300", "x", "12345678901234567890"):
        FRAME.assign(age=[*FRAME.age[:59].astype(str), value]).to_csv(tmp_path / "t.csv", index=False)
        with pytest.raises(DataError) as raised:
            loaded(tmp_path / "t.csv")
        text = str(raised.value)
        assert all(part in text for part in ("t.csv", "'age'", repr(value), "row 60"))
        assert not any(part in text for part in ("np.", "float64", "pydantic", "arrow", "Error"))


@given(
    st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=5, unique_by=str.strip),
    st.lists(st.lists(st.text(max_size=9), min_size=5, max_size=5), min_size=1, max_size=20),
    st.integers(1, 40),
)
@settings(max_examples=150, deadline=None)
def test_any_text_in_any_pieces_is_a_table_or_one_error_of_ours(tmp_path_factory, names, rows, cut):
    frame = pd.DataFrame([row[: len(names)] for row in rows], columns=names)
    content = frame.to_csv(index=False).encode("utf-8", "surrogatepass")[:-cut]
    path = tmp_path_factory.mktemp("any") / "t.csv"
    path.write_bytes(content)
    try:
        whole = read_table(path)
    except DataError:
        return
    pieces = list(pieces_of("t.csv", io.BytesIO(content)))
    for name in whole.columns:
        assert [cell for piece in pieces for cell in piece.columns[name].to_pylist()] == whole.columns[name].to_pylist()


def test_what_can_act_on_tables_alone_is_refused_elsewhere():
    for option in ({"columns": {"a": "number"}}, {"missing": ["?"]}):
        with pytest.raises(ConfigError, match=f"{next(iter(option))} can act on columns of a table"):
            load_dataset("digits", **option)


def test_inspect_says_what_columns_are_taken_for(tmp_path):
    from study_help import droplab

    frame = FRAME.assign(zip=[f"{k % 7:05d}" for k in range(60)], day="2024-01-02", size="5 kg")
    frame.loc[3, "day"] = "2024-02-03"
    frame.assign(price=[f"1.{k:03d},50 €" for k in range(60)]).to_csv(tmp_path / "t.csv", sep=";", index=False)
    said = droplab("data", "inspect", tmp_path / "t.csv")
    lines = {line.split("\t")[0]: line.split("\t")[1] for line in said.out.splitlines() if "\t" in line}
    assert (lines["zip"], lines["town"], lines["age"], lines["day"]) == ("category", "category", "number", "date")
    assert lines["price"] == "number (decimal comma, . between thousands, €)"
    assert "column 'day' must hold numbers or categories; found dates" in said.out
    told = droplab("data", "inspect", tmp_path / "t.csv", "--columns", "zip=number,day=ignore", "--target", "class")
    assert told.code == 0
    assert "numbers: age, zip (decimal comma), price (decimal comma, . between thousands, €); cat" in told.errors
