"""All that is fuzzed, by name."""

import sklearn.model_selection
import sklearn.preprocessing  # noqa: F401 (so that no case pays for it)

from fuzz.harness import Target
from fuzz.kept import Checkpoints, Model, Pages, Rows
from fuzz.readers import Csv, Idx, Images, Npy, Npz, Parquet, Toml

TARGETS: dict[str, type[Target]] = {
    target.name: target for target in (Idx, Npz, Npy, Csv, Parquet, Images, Model, Toml, Rows, Checkpoints, Pages)
}
