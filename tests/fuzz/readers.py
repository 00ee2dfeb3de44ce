"""Files of users: arrays, tables, images, settings. A damaged one is other data: all but a fault may come of it."""

import ast
import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from droplab.config import load_study
from droplab.data.files import load_dataset
from droplab.data.images import read_image
from droplab.data.picture import fit_picture
from droplab.inputs import pieces
from droplab.model.file import ModelInfo
from droplab.predict import predict
from droplab.study.plan import plan_study
from droplab.train.outcome import Way
from fuzz.harness import Target
from fuzz.mutate import damaged, edited, odd_number, odd_text, overwritten, png_edited

CLASSES = np.arange(24) % 3
ROWS = np.random.default_rng(0).normal(size=(24, 4)).astype(np.float32)
ROWS[:, 0] += CLASSES


def quiet(text: str) -> None:
    """Takes a notice."""


class Pair(Target):
    """FEATURES,LABELS of two files, of which one or both are damaged."""

    features: tuple[bytes, ...]
    labels: tuple[bytes, ...]

    def write(self, random: Random) -> str:
        x, y = random.choice(self.features), random.choice(self.labels)
        which = random.randrange(4)
        parts = (
            self.damaged(random, x, self.features) if which < 3 else x,
            self.damaged(random, y, self.labels) if which > 1 else y,
        )
        for name, content in zip("xy", parts, strict=True):
            (self.folder / name).write_bytes(content)
        return f"{self.folder}/x,{self.folder}/y"

    def damaged(self, random: Random, content: bytes, others: tuple[bytes, ...]) -> bytes:
        return random.choice((damaged, damaged, overwritten))(random, content, others)

    def ask(self, case: str) -> None:
        load_dataset(case, test="0.25", notify=quiet)


def idx_bytes(array: np.ndarray) -> bytes:
    code = {"u1": 0x08, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}[array.dtype.str[1:]]
    head = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


class Idx(Pair):
    name, share = "idx", 230_000

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        images = (ROWS[:, :, None] * np.ones(3) * 30 + 99).astype(np.uint8)
        plain = [idx_bytes(images), idx_bytes(ROWS), idx_bytes(ROWS.astype("f8"))]
        labels = [idx_bytes(CLASSES.astype(kind)) for kind in ("u1", "i4")]
        self.features = (*plain, gzip.compress(plain[0], mtime=0))
        self.labels = (*labels, gzip.compress(labels[0], mtime=0))


def npy_bytes(array: np.ndarray) -> bytes:
    kept = io.BytesIO()
    np.save(kept, array, allow_pickle=True)
    return kept.getvalue()


_KINDS = (
    "|u1",
    "<f4",
    "<f8",
    ">i4",
    "|O",
    "<U9",
    "|S3",
    "<c8",
    "<M8[ns]",
    "|b1",
    "<f2",
    "|V4",
    "<U0",
    "[('a','<f4')]",
    "<f16",
)


def npy_edited(random: Random, content: bytes, others: Sequence[bytes] = ()) -> bytes:
    """An npy file of the same numbers with another header, of the right length."""
    told = ast.literal_eval(content[10:128].decode("latin-1"))
    if random.random() < 0.6:
        told["descr"] = random.choice(_KINDS)
    if random.random() < 0.3:
        told["fortran_order"] = random.choice((True, False, 1, "x"))
    if random.random() < 0.3:
        told["shape"] = tuple(
            random.choice((0, 1, 3, 4, 24, 2**31, 2**40, 2**63, -1)) for _ in range(random.randrange(4))
        )
    head = f"{told!r}\n".encode("latin-1", "replace")
    if random.random() < 0.1:
        head = damaged(random, head)
    return content[:6] + b"\x02\x00" + struct.pack("<I", len(head)) + head + content[128:]


class Npy(Pair):
    name, share = "npy", 230_000

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.features = tuple(
            map(
                npy_bytes,
                (ROWS, ROWS.astype("f8"), (ROWS * 30 + 99).astype("u1").reshape(24, 2, 2), np.asfortranarray(ROWS)),
            )
        )
        texts = np.array(["a", "b", "c"])[CLASSES]
        self.labels = tuple(map(npy_bytes, (CLASSES, CLASSES.astype("u1"), texts, texts.astype(object), CLASSES > 1)))

    def damaged(self, random: Random, content: bytes, others: tuple[bytes, ...]) -> bytes:
        return random.choice((damaged, npy_edited, overwritten))(random, content, others)


class Npz(Target):
    name, share = "npz", 80_000

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        four = {"train_x": ROWS, "train_y": CLASSES, "test_x": ROWS[:9], "test_y": CLASSES[:9]}
        self.members = [
            {"x": npy_bytes(ROWS), "y": npy_bytes(CLASSES)},
            {key: npy_bytes(array) for key, array in four.items()},
        ]
        self.sound = [zipped(members) for members in self.members]

    def write(self, random: Random) -> Path:
        path = self.folder / "data.npz"
        if random.random() < 0.5:
            path.write_bytes(damaged(random, random.choice(self.sound), self.sound))
            return path
        members = dict(random.choice(self.members))  # damage that the archive's checksums say nothing of
        name = random.choice(list(members))
        content = members.pop(name)
        name = random.choice((f"../{name}", f"/{name}", "x", "y", "extra")) if random.random() < 0.1 else name
        members[name] = random.choice((damaged, npy_edited, overwritten))(random, content)
        method = random.choice((*(zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) * 9, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
        path.write_bytes(zipped(members, method))
        return path

    def ask(self, case: Path) -> None:
        load_dataset(case, notify=quiet)


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content, method)
    return kept.getvalue()


class TableFile(Target):
    """A table that is trained on, or asked a model about that was trained on a sound one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        sound = folder / "sound.csv"
        lines = [
            f"{row[0]:.3f},{row[1]:.3f},{'abc'[label]},{label > 0},{'xyz'[label]}"
            for row, label in zip(ROWS, CLASSES, strict=True)
        ]
        sound.write_text("\n".join(["n,m,t,b,class", *lines]), "utf-8")
        trained = load_dataset(sound, target="class", test="0.25", notify=quiet)
        self.info = ModelInfo(
            widths=(), dropout=0.0, features=trained.features, classes=trained.classes, scale=1.0, image_shape=None,
            data="sound", fingerprint="", key="", precision="fp32", preprocessing=trained.preprocessing,
        )  # fmt: skip
        shapes = self.info.shapes
        self.weights = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}

    def ask(self, case: tuple[Path, str]) -> None:
        path, face = case
        if face == "predict":
            for piece in pieces(self.info, [str(path)], quiet):
                predict(self.weights, self.info, piece.features, call=piece.call)
        else:
            load_dataset(path, target="class", test="0.25", valid_fraction=0.2, missing=("?",), notify=quiet)


_FACES = ("train", "predict")
_USUAL: tuple[Callable[[Random], str], ...] = (
    lambda random: f"{random.gauss(0, 1):.3f}",
    lambda random: f"{random.randrange(99)}",
    lambda random: random.choice("abc"),
    lambda random: random.choice(("true", "false", "")),
    lambda random: random.choice(("yes", "no", "?")),
    lambda random: f"2024-0{random.randrange(1, 9)}-1{random.randrange(9)}",
    lambda random: f"{random.randrange(9)},{random.randrange(999)}",
)
_ODD: tuple[Callable[[Random], str], ...] = (
    lambda random: str(odd_number(random)),
    odd_text,
    lambda random: random.choice(
        ("", "?", "NA", "null", "True", "0", " 1 ", "1,5", "1.234,5", "1e155", "-1e308", "0x1F", "1_000")
    ),
    lambda random: random.choice(
        ("٣", "½", "−1", "10%", "$5", "1 000", "12:00", "31.1.2024", "2024-01-31T12:00:00Z", "99999-12-31")
    ),
    lambda random: (
        '"' * random.choice((1, 2, 3)) + random.choice(("", "a", "a\nb", ",")) + '"' * random.choice((0, 1, 2))
    ),
    lambda random: random.choice(("\0", "\r", "\t", "\v", "\x1a", "\u2028", "\ufeff", "a" * 2000, "é", "\U0001f600")),
)
_ENCODINGS = (*("utf-8",) * 12, "utf-8-sig", "utf-16", "latin-1")


class Csv(TableFile):
    name, share = "csv", 40_000

    def write(self, random: Random) -> tuple[Path, str]:
        path = self.folder / random.choice(("data.csv", "data.csv", "data.tsv", "data.csv.gz"))
        face = random.choice(_FACES)
        names = ["n", "m", "t", "b", "class"]
        if random.random() < 0.2:
            names[random.randrange(5)] = random.choice((odd_text(random), "n", "", "Unnamed: 0", " class"))
        # A column's cells are of one kind, as a model's that is asked must be, and a cell now and then is odd.
        column = (
            [random.choice(_USUAL) for _ in names] if face == "train" else [_USUAL[kind] for kind in (0, 0, 2, 3, 2)]
        )
        odd = random.choice((0.0, 0.02, 0.02, 0.3))
        rows = [
            [(random.choice(_ODD) if random.random() < odd else kind)(random) for kind in column[:4]]
            + [random.choice("xyz")]
            for _ in range(random.choice((0, 1, 3, 24, 24, 40)))
        ]
        if rows and random.random() < 0.1:
            random.choice(rows)[-1] = random.choice(_ODD)(random)
        if rows and random.random() < 0.1:
            del random.choice(rows)[-1]
        between, end = random.choice((",", ",", ";", "\t", "|")), random.choice(("\n", "\n", "\r\n", "\r"))
        cells = (
            [f'"{cell}"' if between in cell and random.random() < 0.9 else cell for cell in row]
            for row in [names, *rows]
        )
        content = end.join(map(between.join, cells)).encode(random.choice(_ENCODINGS), "replace")
        if random.random() < 0.3:
            content = damaged(random, content)
        if path.suffix == ".gz" and random.random() < 0.9:
            content = gzip.compress(content, 1, mtime=0)
            content = damaged(random, content) if random.random() < 0.3 else content
        path.write_bytes(content)
        return path, face


def _column(random: Random, rows: int) -> pa.Array:
    """A column of some type and odd values; of random ones where the type has no such value."""
    made: tuple[Callable[[], Any], ...] = (
        lambda: pa.array(
            [random.gauss(0, 1) for _ in range(rows)], random.choice((pa.float16(), pa.float32(), pa.float64()))
        ),
        lambda: pa.array([random.gauss(0, 1) for _ in range(rows)]),
        lambda: pa.array(
            [random.choice("abc") for _ in range(rows)],
            random.choice((pa.string(), pa.large_string(), pa.string_view())),
        ),
        lambda: pa.array([random.choice("abc") for _ in range(rows)]).dictionary_encode(),
        lambda: pa.array([odd_number(random) for _ in range(rows)], pa.float64()),
        lambda: pa.array([odd_text(random).encode("utf-8", "replace") for _ in range(rows)], pa.binary()),
        lambda: pa.array([random.choice((True, False, None)) for _ in range(rows)]),
        lambda: pa.array(
            [random.randrange(2**40) for _ in range(rows)],
            random.choice(
                (pa.timestamp("ns"), pa.timestamp("s", "UTC"), pa.duration("us"), pa.time64("ns"), pa.date64())
            ),
        ),
        lambda: pa.array(
            [random.randrange(2**31 - 1) for _ in range(rows)],
            random.choice((pa.date32(), pa.int32(), pa.uint64(), pa.time32("s"))),
        ),
        lambda: pa.array([random.randrange(10**9) for _ in range(rows)]).cast(pa.decimal128(38, 3)),
        lambda: pa.array([[random.random()] * random.randrange(3) for _ in range(rows)]),
        lambda: pa.array([{"a": random.random(), "b": None} for _ in range(rows)]),
        lambda: pa.array([[("k", 1)] for _ in range(rows)], pa.map_(pa.string(), pa.int64())),
        lambda: pa.array([b"\xff\xfe"] * rows, pa.binary(2)),
        lambda: pa.nulls(rows),
        lambda: pa.DictionaryArray.from_arrays(
            pa.array([0] * rows, pa.int32()), pa.array(["A" * random.choice((9, 9, 9, 9, 10**6))])
        ),
    )
    try:
        return random.choice(made)()
    except (pa.ArrowException, OverflowError, ValueError):
        return pa.array([random.random() for _ in range(rows)])


class Parquet(TableFile):
    name, share = "parquet", 30_000

    def write(self, random: Random) -> tuple[Path, str]:
        rows = random.choice((0, 1, 12, 40, 40))
        names = ["n", "m", "t", "b", "class"]
        if random.random() < 0.3:
            names[random.randrange(5)] = random.choice(("n", "", "a.b", "é", "A" * 3000, "__index_level_0__"))
        columns = [_column(random, rows) for _ in names]
        if random.random() < 0.7:
            columns[4] = pa.array([random.choice("xyz") for _ in range(rows)])
        repeated = 200 if random.random() < 0.03 else 1  # the same rows often: little in the file, much in memory
        table = pa.table(columns, names=names).slice(0, rows)
        told = {
            "index_columns": ["n"],
            "columns": [{"name": "n", "pandas_type": "int64", "numpy_type": "int64", "metadata": None}],
            "pandas_version": "2.2.0",
        }
        if random.random() < 0.3:
            text = json.dumps(edited(random, told)) if random.random() < 0.7 else odd_text(random)
            table = table.replace_schema_metadata({"pandas": text.encode("utf-8", "surrogatepass")})
        kept = io.BytesIO()
        compression = random.choice(("snappy", "zstd", "gzip", "none"))
        schema = random.random() < 0.7
        options = {"compression": compression, "store_schema": schema, "dictionary_pagesize_limit": 1 << 30}
        with parquet.ParquetWriter(
            kept, table.schema, coerce_timestamps="us", allow_truncated_timestamps=True, **options
        ) as writer:
            for _ in range(repeated):
                writer.write_table(table)
        content = kept.getvalue()
        path = self.folder / "data.parquet"
        path.write_bytes(damaged(random, content) if random.random() < 0.6 else content)
        return path, random.choice(_FACES)


class Images(Target):
    """One image as it is, or fitted to a form; now and then a folder of them."""

    name, share = "images", 180_000

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7), np.uint8))
        grey.paste(255, (0, 0, 7, 2))
        colour, palette = grey.convert("RGB"), grey.convert("P")
        exif = Image.Exif()
        exif[274] = 6
        self.sound: dict[str, list[bytes]] = {}
        for form, options in _IMAGES:
            for image in (grey, colour, palette, grey.convert("1"), colour.convert("RGBA"), grey.convert("LA")):
                kept = io.BytesIO()
                try:
                    image.save(kept, form, **(options | {"exif": exif} if "exif" in options else options))
                except (OSError, ValueError, KeyError):
                    continue
                self.sound.setdefault(form, []).append(kept.getvalue())

    def write(self, random: Random) -> tuple[Path, str]:
        form = random.choice(list(self.sound))
        content = random.choice(self.sound[form])
        if form == "PNG" and random.random() < 0.6:
            content = png_edited(random, content)
        else:
            other = self.sound[random.choice(list(self.sound))]
            content = damaged(random, content, random.choice((self.sound[form], other)))
        face = random.choice(("read", "read", "read", "read", "fit", "fit in colour", "folder"))
        if face == "folder":
            for place in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
                (self.folder / "of" / place).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / "of" / place).write_bytes(content)
            return self.folder / "of", face
        path = self.folder / "image.png"  # the name says nothing of the form
        path.write_bytes(content)
        return path, face

    def ask(self, case: tuple[Path, str]) -> None:
        path, face = case
        if face == "folder":
            load_dataset(path, test="0.5", notify=quiet)
        elif face == "read":
            read_image(path)
        else:
            fit_picture(path, (8, 8) if face == "fit" else (8, 8, 3), None)


_IMAGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("PNG", {}),
    ("PNG", {"transparency": 0}),
    ("JPEG", {"exif": True}),
    ("JPEG", {"progressive": True}),
    ("GIF", {}),
    ("TIFF", {}),
    *(("TIFF", {"compression": name}) for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4")),
    ("BMP", {}),
    ("WEBP", {"lossless": True}),
    ("PPM", {}),
)


class Toml(Target):
    """A study's settings, and its plan: lines that may stand together, of which some are odd."""

    name, share = "toml", 40_000
    shape = ("depths = [1, 2]\nfirst_width = 16", "widths = [8]", "widths = [16, 8]")
    lines = (
        *(
            "seeds = 2",
            "seeds = [0, 4]",
            "epochs = 3",
            "batch_size = 64",
            "learning_rate = 0.1",
            "momentum = 0.9",
            "dropout = [0.5]",
        ),
        *("activation = 'tanh'", "optimizer = 'adam'", "schedule = 'cosine'", "valid_fraction = 0.2", "split_seed = 3"),
        *(
            "train_examples = 100",
            "question = 'Does it?'",
            "name = 'mine'",
            "target = 'class'",
            "test = '0.2'",
            "missing = ['?']",
        ),
        *(
            "columns = {a = 'number'}",
            "mc_samples = 5",
            "regularizers = {l2 = 1e-4, early_stopping = 3}",
            "regularizers = {max_norm = [3.0, 4.0]}",
        ),
    )
    varied = (
        *(
            "",
            "",
            "rate = [0.1, 0.5]",
            "train_examples = [100, 1000]",
            "regularizer = ['dropout', 'max_norm']",
            "width = [8, 16]",
            "l2 = [0.1]",
        ),
        *(
            "depth = [1, 2]",
            "method = {'w/o' = {dropout = 0.0}, 'b' = {regularizers = {l2 = 0.1}}}",
            "method = {a = {width = [256]}}",
        ),
    )

    def write(self, random: Random) -> Path:
        chosen = random.sample(self.lines, random.randrange(8))
        top = {line.partition(" = ")[0]: line for line in ["data = 'digits'", random.choice(self.shape), *chosen]}
        vary = {line.partition(" = ")[0]: line for line in random.sample(self.varied, random.randrange(3)) if line}
        for part in (top, vary):
            for name in list(part):
                if random.random() < 0.1:
                    part[name] = f"{name} = {_toml(random, random.choice((0, 0, 1, 1, 2, 3)))}"
        if random.random() < 0.01:
            top["deep"] = f"deep = {_toml(random, 3000)}"
        text = "\n".join([*top.values(), *(["[vary]", *vary.values()] if vary else [])])
        content = text.encode("utf-8", "surrogatepass")
        path = self.folder / "study.toml"
        path.write_bytes(damaged(random, content) if random.random() < 0.3 else content)
        return path

    def ask(self, case: Path) -> None:
        plan_study(load_study(str(case)), "0" * 64, Way("cpu", "fp32"))


_VALUES: tuple[Callable[[Random], str], ...] = (
    lambda random: str(odd_number(random)),
    lambda random: json.dumps(odd_text(random)),
    lambda random: random.choice(
        ("true", "1979-05-27", "07:32:00", "[]", "{}", f"0x{'f' * 30}", "[1, 'a']", "3", "0.5", "'dropout'", "[1, 2]")
    ),
)


def _toml(random: Random, deep: int) -> str:
    """A value in TOML, `deep` arrays or tables around it."""
    value = random.choice(_VALUES)(random)
    if deep > 9:
        return "[" * deep + value + "]" * deep
    for _ in range(deep):
        value = random.choice(("[{0}]", "[{0}, {0}]", "{{a = {0}}}", "{{l2 = {0}}}", "{{width = {0}}}")).format(value)
    return value
