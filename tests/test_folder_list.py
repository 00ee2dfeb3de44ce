"""An output folder: what droplab wrote there is known by its bytes; all else is the user's."""

from pathlib import Path

import pytest

from droplab.data.output import LIST, Folder, file_names
from droplab.errors import DataError


def written(path: Path, **files: bytes) -> None:
    folder = Folder(path)
    for name, content in files.items():
        folder.write(f"models/{name}", content)
    folder.finish()


def names(path: Path) -> set[str]:
    return {one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file()} - {LIST}


def test_a_later_study_takes_away_what_an_earlier_one_wrote_and_nothing_else(tmp_path: Path) -> None:
    written(tmp_path, a=b"1", b=b"2", c=b"3")
    (tmp_path / "models/mine").write_bytes(b"mine")
    (tmp_path / "models/b").write_bytes(b"edited")
    written(tmp_path, a=b"4")
    assert names(tmp_path) == {"models/a", "models/b", "models/mine"}
    assert (tmp_path / "models/a").read_bytes() == b"4"
    Folder(tmp_path).finish()
    assert names(tmp_path) == {"models/b", "models/mine"}


def test_a_folder_that_is_left_empty_goes_too(tmp_path: Path) -> None:
    written(tmp_path, a=b"1")
    Folder(tmp_path).finish()
    assert [path.name for path in tmp_path.iterdir()] == [LIST]


@pytest.mark.parametrize("theirs", ["file", "link", "folder", "edited"])
def test_what_is_the_users_is_kept_and_only_files_go_by_force(tmp_path: Path, theirs: str) -> None:
    path = tmp_path / "models/a"
    path.parent.mkdir()
    if theirs == "file":
        path.write_bytes(b"mine")
    elif theirs == "link":
        (tmp_path / "mine").write_bytes(b"mine")
        path.symlink_to("../mine")
    elif theirs == "folder":
        path.mkdir()
    else:
        written(tmp_path, a=b"1")
        path.write_bytes(b"mine")
    with pytest.raises(DataError, match="is not as droplab wrote it, and is kept"):
        Folder(tmp_path).check(["models/a"])
    with pytest.raises(DataError, match="--force"):
        written(tmp_path, a=b"2")
    if theirs != "folder":
        assert path.read_bytes() == b"mine"
        Folder(tmp_path, force=True).write("models/a", b"2")
        assert path.read_bytes() == b"2"
    if theirs == "link":
        assert (tmp_path / "mine").read_bytes() == b"mine"


@pytest.mark.parametrize("torn", [False, True])
def test_a_killed_write_leaves_only_what_the_next_one_knows(tmp_path: Path, torn: bool) -> None:
    written(tmp_path, a=b"1", b=b"2")
    killed = Folder(tmp_path)
    killed.write("models/a", b"3")
    killed.write("models/c", b"4")
    if torn:
        with (tmp_path / LIST).open("ab") as handle:
            handle.write(b"\n0123456789abc")
    written(tmp_path, d=b"5")
    assert names(tmp_path) == {"models/d"}
    written(tmp_path, e=b"6")
    assert names(tmp_path) == {"models/e"}


def test_a_list_never_leads_out_of_the_folder_and_one_of_others_is_not_believed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    written(out, a=b"1")
    (tmp_path / "mine").write_bytes(b"1")
    line = (out / LIST).read_text().splitlines()[1]
    for path in ("../mine", str(tmp_path / "mine"), "models/../../mine"):
        with (out / LIST).open("a") as handle:
            handle.write(line.replace("models/a", path) + "\n")
    Folder(out).finish()
    assert (tmp_path / "mine").exists()
    written(out, a=b"1")
    (out / LIST).write_text("# SHA-256 of my models\n" + line)
    Folder(out).finish()
    assert names(out) == {"models/a"}


READABLE = ["depth=5,dropout=0.5", "widths=512x256,max_norm=3+input_dropout=0.2", "with momentum", "ε=0,1", "a.b", "-x"]
WILD = [
    *(
        "w/o momentum",
        "../../../X",
        "/etc/passwd",
        "C:\\x",
        "a\x00b",
        ".hidden",
        "..",
        ".",
        "",
        " ",
        "trailing ",
        "dot.",
    ),
    *("con", "NUL.x", "com1", "é" * 150, "x" * 300, "x" * 301, "a\nb", "\udcff", "a:b", "w_o momentum", 'q"?<>|*'),
    *("Case", "case", "CASE", "\u00e9", "e\u0301", "w_o momentum-19e68b255721"),
]


def test_readable_names_stay_and_all_others_are_safe_short_and_distinct() -> None:
    made = file_names(READABLE + WILD)
    assert [made[name] for name in READABLE] == READABLE
    assert len({name.casefold() for name in made.values()}) == len(READABLE + WILD)
    for name in made.values():
        assert len(name.encode()) <= 200
        assert name.isprintable()
        assert not set('/\\:*?"<>|') & set(name)
        assert not name.startswith((".", " "))
        assert not name.endswith((".", " "))
        assert name.partition(".")[0].strip().lower() not in ("con", "nul", "com1", "")
    assert file_names(reversed(READABLE + WILD)) == made


def test_a_full_disk_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    written(tmp_path, a=b"1")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match="No space left"):
        Folder(tmp_path).write("models/a", b"2")
    assert (tmp_path / "models/a").read_bytes() == b"1"
