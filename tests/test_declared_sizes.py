"""Small files that promise much: each is refused, or read, within a memory and a time that its bytes account for."""

import gzip
import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

_MOST_MB, _MOST_S = 1_000, 5

_PROBE = """
import sys, time
from pathlib import Path
import pyarrow.compute, pyarrow.csv, pyarrow.parquet, scipy.ndimage, sklearn.model_selection
from droplab.config import load_study
from droplab.data.contents import inspect
from droplab.data.files import load_dataset
from droplab.data.picture import fit_picture
from droplab.errors import DroplabError
from droplab.model import file
def read(path):
    if path.endswith(".safetensors"):
        file.read(path)
    elif path.endswith(".toml"):
        load_study(path)
    elif path.endswith((".png", ".webp", ".gif", ".tif")):
        fit_picture(Path(path), (28, 28), None)
    elif path.endswith((".parquet", ".csv", ".csv.gz")):
        load_dataset(path, target="y", notify=lambda _: None)
    else:
        inspect(path)
    return "read"
for path in sys.argv[1:]:
    Path("/proc/self/clear_refs").write_text("5")  # the most memory so far is forgotten
    started = time.process_time()
    try:
        said = read(path)
    except DroplabError as error:
        said = f"{type(error).__name__}: {error}"
    most = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(int(most.split()[1]) // 1024, time.process_time() - started, said)
"""

LONG = "x" * 1_000_000
MANY = 60 << 20
ROWS = 300
CLASSES = ["a", "b"] * 150


def table(cells: Callable[[], pa.Array]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        made = pa.table({"n": np.arange(float(ROWS)), "t": cells(), "y": CLASSES})
        parquet.write_table(made, path, compression="zstd", dictionary_pagesize_limit=1 << 30)

    return write


def repeated(value: object) -> pa.Array:
    return pa.DictionaryArray.from_arrays(np.zeros(ROWS, np.int32), pa.array([value]))


def deltas(path: Path) -> None:
    made = pa.table({"t": [f"{LONG}{row}" for row in range(ROWS)], "y": CLASSES})
    ways = {"t": "DELTA_BYTE_ARRAY", "y": "PLAIN"}
    parquet.write_table(made, path, compression="zstd", use_dictionary=False, column_encoding=ways)


def packed(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(gzip.compress(content, 1))


def npz(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "|i1", "fortran_order": True, "shape": (60, 1 << 20)})
        member.write(bytes(MANY))


def header(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(struct.pack("<Q", len(content)) + content.encode())


def entry(content: str) -> Callable[[Path], object]:
    return header(json.dumps({"__metadata__": {"droplab": content}}))


def picture(mode: str, side: int) -> Callable[[Path], None]:
    return lambda path: Image.new(mode, (side, side)).save(path)


def frames(path: Path) -> None:
    few = [Image.new("L", (1, 1), place % 255) for place in range(300)]
    few[0].save(path, save_all=True, append_images=few[1:])


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "one text.parquet": (table(lambda: repeated(LONG)), "bomb"),
    "texts by their beginnings.parquet": (deltas, "bomb"),
    "texts in one page.parquet": (table(lambda: pa.array([f"{row}{LONG}" for row in range(ROWS)])), "bomb"),
    "nested.parquet": (
        table(lambda: pa.StructArray.from_arrays([repeated(LONG)], ["a"])),
        "one value a row; found struct",
    ),
    "bytes.parquet": (table(lambda: repeated(LONG.encode())), "one value a row; found"),
    "wide bytes.parquet": (
        table(lambda: pa.array([b"x" * 100_000] * ROWS, pa.binary(100_000))),
        "one value a row; found fixed_size_binary",
    ),
    "numbers.parquet": (
        lambda path: parquet.write_table(pa.table({"n": np.zeros(9_000_000), "y": np.zeros(9_000_000)}), path),
        "bomb",
    ),
    "no end of names.csv.gz": (packed(b"," * MANY), "first line must name the columns, in at most"),
    "rows.csv.gz": (packed(b"a,y\n" + b"1,a\n2,b\n" * (4 << 20)), "bomb"),
    "empty cells.csv.gz": (
        packed(b",".join(b"c%d" % k for k in range(9_999)) + b",y\n" + (b"," * 9_999 + b"\n") * 6_000),
        "bomb",
    ),
    "bomb-idx3-ubyte.gz": (packed(struct.pack(">BBBB3I", 0, 0, 8, 3, 7_600_000, 28, 28) + bytes(MANY)), "promises"),
    "columns first.npz": (npz, "read"),
    "lists.safetensors": (header('{"a":[' + "[]," * 10_000_000 + "[]]}"), "header may have"),
    "long.safetensors": (header('{"a":"' + "x" * (17 << 20) + '"}'), "header may have"),
    "layers.safetensors": (entry('{"widths":[' + "1," * 250_000 + "1]}"), "must describe a network"),
    "no layers.safetensors": (entry('{"widths":[' + "[]," * 125_000 + "[]]}"), "must describe a network"),
    "colour.png": (picture("RGBA", 7_100), "drawn"),
    "colour.webp": (picture("RGB", 3_900), "drawn"),
    "palette.gif": (picture("P", 7_100), "drawn"),
    "frames.tif": (frames, "one picture; found several"),
    "deep.toml": (lambda path: path.write_text("a = " + "[" * 5_000 + "]" * 5_000), "a line; found more|recursion"),
    "deep lines.toml": (lambda path: path.write_text("a = " + "[\n" * 5_000 + "]" * 5_000), "recursion"),
    "deep keys.toml": (lambda path: path.write_text("a" + ".a" * 4_000 + " = 1\n"), "no setting 'a'|recursion"),
    "many keys.toml": (lambda path: path.write_text("a" + ".a" * 30_000 + " = 1\n"), "a line; found more"),
    "large.toml": (lambda path: path.write_text("a = 1\n" * 20_000), "at most 65,536 bytes"),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a process says that reads them all, one after the other."""
    folder = tmp_path_factory.mktemp("promises")
    for name, (make, _) in FILES.items():
        make(folder / name)
    paths = [folder / name for name in FILES]
    command = [sys.executable, "-c", _PROBE, *paths]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert not done.returncode, done.stderr
    return dict(zip(FILES, done.stdout.splitlines(), strict=True))


@pytest.mark.parametrize("name", FILES)
def test_a_small_file_takes_little_memory_and_time(name: str, told: dict[str, str]) -> None:
    says = FILES[name][1]
    megabytes, seconds, said = told[name].split(maxsplit=2)
    assert any(part in said for part in says.split("|")), said
    assert said.startswith(("read", "DataError: ", "ConfigError: ", "ModelFileError: "))
    assert int(megabytes) < _MOST_MB
    assert float(seconds) < _MOST_S
