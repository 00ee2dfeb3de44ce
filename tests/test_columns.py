"""What a column is: decided once, on the rows trained on, whatever its neighbours in another file say."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from droplab.data.cells import PLAIN, TEXT, Spelling, canonical, numbers_of, texts_of
from droplab.data.columns import decide
from droplab.data.preprocessing import Category, Number, Preprocessing
from droplab.data.tables import Table
from droplab.data.unseen import Unseen
from droplab.errors import ConfigError, DataError

RANDOM = np.random.default_rng(0)
MEASURED = [f"{value:.2f}" for value in RANDOM.normal(size=60)]
COUNTED = [str(value) for value in RANDOM.integers(0, 9, 60)]


def table(cells, separator=",", **others):
    """A table with a column `x` of texts, or of cells of any type, and others beside it."""
    columns = {"x": cells} | others
    arrays = {
        name: each if isinstance(each, pa.Array) else pa.array([None if c is None else str(c) for c in each], TEXT)
        for name, each in columns.items()
    }
    return Table("t.csv", arrays, np.arange(1, len(arrays["x"]) + 1), separator=separator)


def decided(cells, told=None, separator=",", **others):
    return decide(table(cells, separator, **others), {} if told is None else {"x": told})["x"]


def many(*texts):
    return list(texts) * 10


@pytest.mark.parametrize(
    "cells",
    [
        many("true", "false", "unknown"),
        many("01", "02", "A1"),
        many("1", "2", "A"),
        many("1", "2", "A", None),
        many("00501", "10001"),
        [f"{zipcode:05d}" for zipcode in range(300, 90_000, 1000)],
        many("+4912345", "+4398765"),
        many("+49 151 23", "+43 1 5"),
        many("0x1f", "0x2A"),
        [f"0x{k:04x}" for k in range(60)],
        [f"+49 30 {k}" for k in range(1000, 1060)],
        [f"0049 {k}" for k in range(1000, 1060)],
        many("1", "2", "3", "4", ">5"),
        many("10-20", "20-30", "30+"),
        many("1.2.3", "1.2.4"),
        many("yes", "no"),
        many("5 kg", "6 kg"),
        many("May", "June"),
        many("inch", "inf."),
    ],
    ids=str,
)
def test_codes_and_names_are_categories(cells):
    assert decided(cells).kind == "category"
    assert decided(cells).fault == ""


@pytest.mark.parametrize(
    ("cells", "separator", "words", "numbers"),
    [
        (many("1", "-2.5", "1e3", ".5"), ",", "", [1, -2.5, 1000, 0.5]),
        (many("+3", "-2"), ",", "", [3, -2]),
        (many("−3", " 4 "), ",", "", [-3, 4]),
        (many("(5)", "4"), ",", "", [-5, 4]),
        (many("1,5", "2,75"), ";", "decimal comma", [1.5, 2.75]),
        (many("1,5", "2,75"), ",", "decimal comma", [1.5, 2.75]),
        (many("0,123", "0,999"), ",", "decimal comma", [0.123, 0.999]),
        (many("1,234", "2,500"), ";", "decimal comma", [1.234, 2.5]),
        (many("1,234", "2,500"), ",", ", between thousands", [1234, 2500]),
        (many("1,234,567.25", "999"), ",", ", between thousands", [1234567.25, 999]),
        (many("12,34,567", "1,000"), ",", ", between thousands", [1234567, 1000]),
        (many("1.234,5", "2"), ";", "decimal comma, . between thousands", [1234.5, 2]),
        (many("1 234,5", "99"), ";", "decimal comma, spaces between thousands", [1234.5, 99]),
        (many("1\u202f234", "99\u00a0000"), ",", "spaces between thousands", [1234, 99000]),
        (many("1'234.5", "99"), ",", "' between thousands", [1234.5, 99]),
        (many("12.5%", "3 %"), ",", "%", [12.5, 3]),
        (many("$5", "-$1,200.50", "$ 3"), ",", ", between thousands, $", [5, -1200.5, 3]),
        (many("1.200,50 €", "5 €"), ";", "decimal comma, . between thousands, €", [1200.5, 5]),
        (many("true", "FALSE", "False"), ",", "true or false", [1, 0, 0]),
        (many("1", "NA", "", "nan"), ",", "", [1, np.nan, np.nan, np.nan]),
    ],
)
def test_numbers_are_read_however_people_write_them(cells, separator, words, numbers):
    found = decided(cells, separator=separator)
    assert (found.kind, found.spelling.words, found.fault) == ("number", words, "")
    values, fault = numbers_of(pa.array(cells, TEXT), found.spelling)
    assert fault is None
    np.testing.assert_array_equal(values, np.resize(numbers, len(cells)))


def test_a_point_between_thousands_is_told_by_another_column():
    cells = many("1.234", "2.500")
    assert decided(cells, separator=";").spelling == PLAIN
    assert decided(cells, separator=";", other=many("1,5", "2,25")).spelling.thousands == "."


@pytest.mark.parametrize("slip", ["?", "-", "n.a.", "<5", "x2", "12O", "--", "inf", "1.2.3"])
@pytest.mark.parametrize("numbers", [MEASURED, COUNTED], ids=["measured", "counted"])
def test_a_slip_among_the_rows_trained_on_is_named_with_what_to_do(numbers, slip):
    found = decided([*numbers[:40], slip, *numbers[40:]])
    assert found.kind == "unreadable"
    assert f"found {slip!r} in row 41" in found.fault
    assert f"--missing {slip!r}" in found.fault
    assert "--columns x=category" in found.fault


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (many("1.5", "2,5"), "in one way; found '1.5' and '2,5'"),
        (many("12.5%", "3"), "in one way; found '12.5%' and '3'"),
        (many("$5", "€5"), "in one way"),
        ([f"{k} kg" for k in range(60)], "looks like numbers.*'0 kg'"),
        ([f"{k}/7" for k in range(60)], "looks like numbers"),
        ([f"USD {k}" for k in range(60)], "looks like numbers"),
        ([f"{k}K" for k in range(60)], "looks like numbers"),
        ([f"{k}_000" for k in range(60)], "looks like numbers"),
        ([f"{k}.5 °C" for k in range(60)], "looks like numbers"),
        ([f"3.{k} ± 0.1" for k in range(60)], "looks like numbers"),
        ([f'="{k}.25"' for k in range(60)], "looks like numbers"),
        ([f"[{k}.25]" for k in range(60)], "looks like numbers"),
        ([f"{k} kilograms" for k in range(60)], "looks like numbers"),
        (["?"] * 140 + MEASURED, "found '\\?' in row 1"),
        (["٣٤", *[chr(0x660 + k % 10) + chr(0x660 + k // 10) for k in range(60)]], "looks like numbers"),
        (pa.array([[1, 2], [3]]), "one value a row; found list"),
        (pa.array([{"a": 1}, {"a": 2}]), "one value a row; found struct"),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "one value a row; found map"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_nobody_can_read_is_refused_and_never_a_feature_a_value(cells, words):
    with pytest.raises(DataError, match=f"t.csv: column 'x' .*{words}"):
        Preprocessing.fit(table(cells))


@pytest.mark.parametrize(
    "cells",
    [
        many("2024-01-02", "2023-12-31"),
        many("02.01.2024", "13.12.2024"),
        many("1/2/2024", "12/31/2023"),
        many("31/12/23", "1/1/24"),
        many("2024/01/02", "2024/11/30"),
        many("Jan 2, 2024", "March 3, 2023"),
        many("2. Feb 2024", "3rd May 2021"),
        many("2024-01-02T10:11:12Z", "2024-01-02 10:11:12.5+02:00"),
        many("12:30", "7:05"),
        many("Feb 2020", "Mar-2021"),
        many("21Feb2020", "03MAR2021:03:03:07"),
        many("2020-Feb-21", "2021-Mar-01"),
        many("Fri Feb 21 03:03:07 2020", "Sat Mar 7 03:03:07 2020"),
        many("20200221T030307Z", "2020-02-21T030307"),
        many("02/21/2020 03:03 AM EST", "2020-02-21T03:03:07+01:00[Europe/Berlin]"),
        many("2020-02", "2021-11"),
        many("2020-W08", "2020Q1"),
        many("0 days 02:03:00", "PT3H3M"),
        many("21.02.2020", "-"),
        many("Mon, 2 Jan 2006 15:04:05 GMT", "Tue, 3 Jan 2006 15:04:05 GMT"),
        pa.array(pd.to_datetime(["2024-01-02", "2024-01-03"])),
        pa.array(pd.to_datetime(["2024-01-02", "2024-01-03"]).date),
    ],
    ids=str,
)
def test_dates_of_any_form_are_dates(cells):
    found = decided(cells)
    assert found.kind == "date"
    assert "found dates" in found.fault
    assert decided(cells, told="ignore").fault == ""
    assert decided(cells, told="category").kind == "category"


def test_the_user_can_say_what_a_column_is():
    rows = table(many("1", "2", "3"), zip=many("00501", "10001", "00502"))
    made = Preprocessing.fit(rows, {"x": "category", "zip": "number"})
    assert isinstance(made.columns[0], Category)
    assert made.columns[0].categories == ("1", "2", "3")
    assert isinstance(made.columns[1], Number)
    assert made.read(rows)[0, 1] == 501
    assert [one.name for one in Preprocessing.fit(rows, {"x": "ignore"}).columns] == ["zip"]
    with pytest.raises(DataError, match="column 'x' must hold finite numbers or nothing; found 'b' in row 2"):
        Preprocessing.fit(table(["1", "b", "c"]), {"x": "number"})


@pytest.mark.parametrize(
    ("told", "words"),
    [({"zpi": "category"}, "found 'zpi'. Did you mean 'zip'"), ({"x": "text"}, "column 'x' must be number, category")],
)
def test_a_wrong_word_about_a_column_is_one_clear_error(told, words):
    with pytest.raises(ConfigError, match=words):
        decide(table(many("1", "2"), zip=many("1", "2")), told)


@pytest.mark.parametrize(
    "typed",
    [
        pa.array([Decimal("12.50"), Decimal("3.00"), None]),
        pa.array([12.5, 3.0, None]),
        pa.array([12.5, 3.0, float("nan")], pa.float32()),
        pa.array(["12.5", "3", None]).dictionary_encode(),
        pa.array(["12.50", "3.0", None], pa.string()),
    ],
    ids=lambda typed: str(typed.type),
)
def test_numbers_of_any_type_are_the_same_numbers(typed):
    rows = Table.of(pa.table({"x": typed}).to_pandas(types_mapper=pd.ArrowDtype))
    made = Preprocessing.fit(rows)
    assert made.feature_names == ("x", "x is missing")
    np.testing.assert_array_equal(made.read(rows)[:, 0], [12.5, 3, np.nan])


@pytest.mark.parametrize(
    ("typed", "texts"),
    [
        (pa.array([1.0, 0.5, 1e15, float("nan")]), ["1", "0.5", "1000000000000000", None]),
        (pa.array([0.1], pa.float32()), ["0.1"]),
        (pa.array([Decimal("1.50"), Decimal("2.00")]), ["1.5", "2"]),
        (pa.array([True, False, None]), ["True", "False", None]),
        (pa.array([1, 2], pa.int8()), ["1", "2"]),
        (pa.array(np.array(["2024-01-02", "2024-01-02T03:04:05"], "M8[ns]")), ["2024-01-02", "2024-01-02 03:04:05"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
    ],
    ids=str,
)
def test_a_typed_cell_has_one_spelling(typed, texts):
    whole = texts_of(typed).to_pylist()
    assert whole == texts
    assert [texts_of(typed.slice(k, 1))[0].as_py() for k in range(len(typed))] == whole


@pytest.mark.parametrize(
    ("trained", "asked"),
    [
        (many("true", "false", "unknown"), pa.array([True, False])),
        (many("True", "False", "unknown"), pa.array(["TRUE", "false"], TEXT)),
        (many("1", "2", "A"), pa.array([1.0, 2.0])),
        (many("1", "2", "A"), pa.array(["1.0", " 2"], TEXT)),
        (many("1.0", "2.0", "A"), pa.array([1, 2])),
        (pa.array([1, 2] * 10), pa.array(["1", "2.0"], TEXT)),
    ],
)
def test_a_category_is_found_however_another_file_types_it(trained, asked):
    made = Preprocessing.fit(table(trained), {"x": "category"})
    assert made.read(table(asked))[:, 0].tolist() == made.read(table(trained))[:2, 0].tolist()


@pytest.mark.parametrize("other", ["01", "1.10", "tru", "Ulm "])
def test_categories_that_mean_another_thing_are_unknown(other):
    made = Preprocessing.fit(table(many("1", "1.1", "true", "ulm")))
    assert made.read(table([other]))[0, 0] == -1


@pytest.mark.parametrize(
    ("trained", "asked"),
    [
        (pa.array([True, False, None] * 10), ["1", "0", None]),
        (pa.array([True, False, None] * 10), pa.array([1, 0, None])),
        (many("true", "false", None), pa.array([1.0, 0.0, float("nan")], pa.float32())),
        (many("True", "False", None), ["1", "0", None]),
        (many("1", "0", None), ["true", "FALSE", ""]),
        (many("1", "0", "1", "0", "1"), pa.array([True, False])),
    ],
)
def test_truth_values_are_one_and_nought_in_every_file(trained, asked):
    made = Preprocessing.fit(table(trained))
    expected = np.array([1, 0, np.nan])[: len(asked)]
    np.testing.assert_array_equal(made.read(table(asked))[:, 0], expected)


@pytest.mark.parametrize(
    ("trained", "asked", "found"),
    [
        (MEASURED, ["1", "?"], "'\\?' in row 2"),
        (MEASURED, ["<5"], "'<5' in row 1"),
        (MEASURED, ["1e300"], "'1e300' in row 1"),
        (MEASURED, pa.array([np.inf]), "'inf' in row 1"),
        (MEASURED, ["9007199254740993"], "'9007199254740993'"),
        (MEASURED, pa.array([2**60 + 1]), "'1152921504606846977'"),
        (MEASURED, pa.array(pd.to_datetime(["2024-01-02"])), "'2024-01-02"),
        (MEASURED, ["1,5"], "'1,5'"),
        (MEASURED, pa.array([True]), "'True'"),
        (MEASURED, pa.array([[1.0]]), "1"),
        (many("12.5%", "3%"), ["0.125"], r"as in training: %\); found '0.125'"),
        (many("12.5%", "3%"), pa.array([0.125]), "'0.125'"),
        (many("true", "false"), ["yes"], r"true or false, 1 or 0\); found 'yes'"),
        (many("true", "false"), ["2"], "found '2'"),
        (many("1,5", "2,5"), ["1.5"], r"decimal comma\); found '1.5'"),
    ],
)
def test_a_held_out_cell_that_is_no_such_number_is_named(trained, asked, found):
    made = Preprocessing.fit(table(trained))
    with pytest.raises(DataError, match=f"t.csv: column 'x' must hold finite numbers.*{found}"):
        made.transform(table(asked))


def test_what_to_do_about_a_cell_depends_on_the_cell():
    made = Preprocessing.fit(table(MEASURED))
    with pytest.raises(DataError, match=r"fit with --missing '\?'"):
        made.read(table(["?"]))
    for long in ("12345678901234567", "1e300"):
        with pytest.raises(DataError, match=r"at most 3.4e38.*--columns x=category") as raised:
            made.read(table([long]))
        assert "--missing" not in str(raised.value)


def test_a_number_too_far_from_those_of_training_is_an_error_and_never_infinite():
    made = Preprocessing.fit(table([f"{k}e-30" for k in range(1, 30)]))
    with pytest.raises(DataError, match="found 1e\\+30 in row 2, too far"):
        made.transform(table(["1e-30", "1e30"]))


def test_what_training_lacked_is_told():
    made = Preprocessing.fit(table(many("Ulm", "Bern", "Ulm"), age=MEASURED[:30]))
    unseen = Unseen()
    made.read(table(["Ulm", "Rome", "Rome", "Oslo", None], age=["1", "2", None, "3", "99999"]), unseen)
    made.read(table(["Ulm", "Rome"], age=["1", "2"]), unseen)
    category, gaps, far = unseen.words
    assert category.startswith("4 of 7 rows have a category that training lacks")
    assert "x: 'Rome', 'Oslo'" in category
    assert "age: 1" in gaps
    assert "x: 1" in gaps
    assert "99999 in row 5" in far


def test_a_column_of_nought_and_one_is_read_cell_by_cell():
    made = Preprocessing.fit(table(many("1", "0", "1")))
    assert made.read(table(["true", "2", "FALSE"]))[:, 0].tolist() == [1, 2, 0]
    assert [made.read(table([cell]))[0, 0] for cell in ("true", "2", "FALSE")] == [1, 2, 0]


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"x": [1, "a", 2.5]}),
        pd.DataFrame({"x": [1 + 2j, 3j]}),
        pd.DataFrame([[1, 2]], columns=["x", "x"]),
    ],
)
def test_a_frame_that_is_no_table_is_one_error_of_ours(frame):
    with pytest.raises(DataError, match="a DataFrame must have a name for each column"):
        Preprocessing.fit(frame)


@given(st.floats(-1e300, 1e300), st.sampled_from([".", ","]), st.sampled_from(["", ",", ".", " ", "'"]))
@settings(max_examples=200, deadline=None)
def test_every_spelling_reads_back_what_it_wrote(value, decimal, thousands):
    if decimal == thousands or abs(value) > 1e15:
        return
    spelling = Spelling(decimal=decimal, thousands=thousands)
    written = f"{value:{',' if thousands else ''}.6f}"
    written = written.translate(str.maketrans({",": thousands, ".": decimal}))
    (found,), fault = numbers_of(pa.array([written], TEXT), spelling)
    assert fault is None
    assert found == float(f"{value:.6f}")


@given(st.text(max_size=12))
@settings(max_examples=200, deadline=None)
def test_a_canonical_text_stays_one(text):
    assert canonical(canonical(text)) == canonical(text)


@given(st.lists(st.one_of(st.none(), st.text(max_size=6), st.floats().map(str), st.integers().map(str)), min_size=1))
@settings(max_examples=200, deadline=None)
def test_any_texts_are_a_column_or_one_error_of_ours(texts):
    rows = table(texts, beside=[str(k) for k in range(len(texts))])
    try:
        made = Preprocessing.fit(rows)
    except DataError:
        return
    assert np.isfinite(made.transform(rows)).all()
