"""A small data set that a network can learn in a second."""

import numpy as np

from droplab.data.dataset import Dataset
from droplab.train.examples import Examples


def toy_dataset(examples: int = 600, features: int = 20, classes: int = 4) -> Dataset:
    """Noisy prototypes of each class as bytes; the last fifth is the test split."""
    random = np.random.default_rng(0)
    labels = np.arange(examples) % classes
    random.shuffle(labels)
    prototypes = random.integers(40, 215, (classes, features))
    pixels = np.clip(prototypes[labels] + random.normal(0, 60, (examples, features)), 0, 255).astype(np.uint8)
    train = examples * 4 // 5
    return Dataset(
        name="toy",
        train_x=pixels[:train],
        train_y=labels[:train].astype(np.int64),
        test_x=pixels[train:],
        test_y=labels[train:].astype(np.int64),
        classes=tuple("abcdefghij"[:classes]),
        scale=1 / 255,
    )


def toy_examples(**shape: int) -> Examples:
    """The toy data split as a study splits it."""
    return Examples.of(toy_dataset(**shape), 1 / 6, 1)
