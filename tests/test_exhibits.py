"""Exhibits: confusion, mistakes, pictures and activations, each against a plain count."""

import io
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from droplab.config import RunSettings
from droplab.data.dataset import Dataset
from droplab.model.file import ModelInfo
from droplab.report.figures import study_figures
from droplab.report.network_charts import activations, confusion
from droplab.report.pictures import image_png, signed_grid_png
from droplab.study.exhibits import activation_frames, collect_exhibits, confusion_frame
from droplab.study.mistakes import MOST_SHOWN, find_mistakes
from report_data import CLASSES, findings_of, made_up_study

EXAMPLES = 200
RANDOM = np.random.default_rng(3)
LABELS = RANDOM.integers(0, 10, EXAMPLES).astype(np.uint8)


def study(**values):
    """A made-up study that knows its test labels; every run is wrong somewhere, all are on example 7."""
    plan, records = made_up_study(depths=[1, 3], **values)
    for key, record in records.items():
        random = np.random.default_rng(int.from_bytes(key[:8].encode()))
        wrong = random.random(EXAMPLES) < 0.3
        wrong[7] = True
        predicted = np.where(wrong, (LABELS + 1) % 10, LABELS).astype(np.uint8)
        records[key] = replace(record, outcome=replace(record.outcome, ledger={"test": predicted}), test_labels=LABELS)
    return plan, records


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@given(
    st.integers(2, 6).flatmap(
        lambda c: st.tuples(st.just(c), *[arrays(np.int64, 40, elements=st.integers(0, c - 1))] * 2)
    )
)
def test_confusion_counts_every_pair_of_classes(case):
    count, labels, predicted = case
    names = tuple(f"<{k}>" for k in range(count))
    frame = confusion_frame(labels, predicted, names).set_index(["true", "predicted"])
    assert frame["examples"].sum() == 40
    for i in range(count):
        for j in range(count):
            found = frame.loc[(names[i], names[j])]
            assert found["examples"] == np.sum((labels == i) & (predicted == j))
            of = np.sum(labels == i)
            assert found["share"] == pytest.approx(found["examples"] / of if of else np.nan, nan_ok=True)


def test_of_many_classes_the_most_mistaken_are_drawn():
    names = [f"c{k}" for k in range(30)]
    labels = np.repeat(np.arange(30), 10)
    predicted = np.where(labels < 22, labels, (labels + 1) % 30)  # 22 … 29 are always wrong, and 29 is said to be 0
    drawn = confusion(confusion_frame(labels, predicted, names), "net").chart.to_json()
    shown = set(re.findall(r'"true": "(c\d+)"', drawn))
    assert {f"c{k}" for k in range(22, 30)} | {"c0"} <= shown
    assert len(shown) == 20


def test_mistakes_name_the_arms_that_get_an_example_right():
    plan, records = study()
    run = plan.run_of(plan.arms[3], 1)
    found = find_mistakes(plan, records, run)
    assert found is not None
    right = {key: record.right for key, record in records.items()}
    mine = right[run.key]
    assert (found.wrong, found.examples) == (int((~mine).sum()), EXAMPLES)
    assert found.by_all == int((~np.any(list(right.values()), axis=0)).sum()) >= 1
    assert len(found.shown) == min(MOST_SHOWN, found.wrong)
    counts = [sum(one[m.example] for one in right.values()) for m in found.shown]
    assert [m.networks for m in found.shown] == counts == sorted(counts, reverse=True)
    first = found.shown[0]
    assert not mine[first.example]
    assert (first.true, first.predicted) == (LABELS[first.example], (LABELS[first.example] + 1) % 10)
    for arm in plan.arms:
        seeds = sum(right[plan.run_of(arm, seed).key][first.example] for seed in range(3))
        assert first.right.get(arm.name, (0, 3)) == (seeds, 3)


def test_without_labels_nothing_is_said_to_be_wrong():
    plan, records = made_up_study(depths=[3])
    assert find_mistakes(plan, records, plan.runs[0]) is None


def test_a_picture_is_the_array():
    values = np.array([[0, 51], [102, 255]], np.uint8)
    assert pixels(image_png(values)).tolist() == values.tolist()
    assert pixels(image_png(np.full((2, 3), 7.0))).tolist() == [[0] * 3] * 2
    grid = pixels(signed_grid_png(np.array([[1, -2, 0, 0], [0, 0, 0, 0], [3, 0, 0, 3]], np.float32), (2, 2)))
    assert grid.shape == (5, 5)
    assert grid[0, 1] == 0, "the largest magnitude of an image is black or white"
    assert grid[1, 1] == 128
    assert grid[0, 0] == 191, "half as much above 0 is half way to white"
    assert grid[3, 0] == grid[4, 1] == 255


def test_a_picture_in_colour_is_the_array_and_its_weights_lie_side_by_side():
    values = RANDOM.integers(20, 200, (2, 4, 3)).astype(np.uint8)
    assert pixels(image_png(values)).tolist() == values.tolist()
    stretched = pixels(image_png(values / 255)).astype(float)
    expected = 255 * (values - float(values.min())) / float(np.ptp(values))
    np.testing.assert_allclose(stretched, expected, atol=0.51)
    weights = np.zeros((2, 2, 3), np.float32)
    weights[0, 1, 0], weights[1, 0, 2] = 1, -1
    grid = pixels(signed_grid_png(weights.reshape(1, -1), (2, 2, 3)))
    assert grid.shape == (2, 6)
    drawn = {(0, 1): 255, (1, 4): 0}  # the red of a pixel above, the blue of one below
    for place in np.ndindex(2, 6):
        assert grid[place] == drawn.get(place, 128)


def weights_of(seed: int, units=(4, 6, 5, 3)) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    weights = {}
    for k, (inputs, outputs) in enumerate(pairwise(units)):
        weights[f"layers.{k}.weight"] = random.normal(size=(outputs, inputs)).astype(np.float32)
        weights[f"layers.{k}.bias"] = random.normal(size=outputs).astype(np.float32)
    weights["layers.0.bias"][2] = -1e6  # a dead unit
    return weights


def test_activations_are_those_of_a_plain_forward_pass():
    features = RANDOM.random((50, 4)).astype(np.float32)
    networks = [
        (f"dropout {rate:g}", RunSettings(widths=(6, 5), dropout=rate, seed=seed), weights_of(seed + 10 * (rate > 0)))
        for rate in (0.0, 0.5)
        for seed in (0, 1)
    ]
    sparsity, histogram = activation_frames(networks, features)
    for trained, settings, weights in networks:
        seed = settings.seed
        hidden = features
        for layer in (1, 2):
            hidden = np.maximum(
                hidden @ weights[f"layers.{layer - 1}.weight"].T + weights[f"layers.{layer - 1}.bias"], 0
            )
            (row,) = sparsity.query(f"trained == '{trained}' and seed == {seed} and layer == {layer}").itertuples()
            assert row.active == pytest.approx((hidden > 0).mean())
            assert row.dead == pytest.approx((hidden.max(axis=0) == 0).mean())
            assert row.mean == pytest.approx(hidden.mean(), rel=1e-5)
    assert sparsity["dead"].max() > 0
    assert histogram.groupby("trained")["share"].sum().to_numpy() == pytest.approx(1, abs=0.01)
    spec = activations(sparsity, histogram, 50).chart.to_dict()
    assert [one["width"] for one in spec["hconcat"]] == [264, 264]


def test_exhibits_are_of_the_best_network_and_say_what_is_missing():
    plan, records = study()
    run = plan.run_of(plan.arms[3], 1)
    features = RANDOM.integers(0, 256, (EXAMPLES, 4)).astype(np.uint8)
    data = Dataset("toy", features, LABELS.astype(np.int64), features, LABELS.astype(np.int64), tuple("0123456789"))

    def weights(record):
        return weights_of(record.settings.seed, (4, *record.settings.widths, 10))

    def shown_of(run, shape, weights, data):
        info = ModelInfo(
            widths=run.settings.widths,
            dropout=run.settings.dropout,
            features=4,
            classes=CLASSES,
            scale=1 / 255,
            image_shape=shape,
            data="toy",
            fingerprint=plan.fingerprint,
            key=run.key,
            precision="fp32",
        )
        return collect_exhibits(findings_of(plan, records, best=run), info, weights, data)

    shown = shown_of(run, (2, 2), weights, data)
    assert shown.network == "depth=3,dropout=0.5, seed 1"
    assert {"confusion", "activations"} <= set(study_figures(findings_of(plan, records), shown))
    assert list(shown.images) == [one.example for one in shown.mistakes.shown]
    example, image = next(iter(shown.images.items()))
    assert image.tolist() == features[example].reshape(2, 2).tolist()
    assert shown.units == (64, 512)
    kinds = ["no dropout (control)", "dropout 0.5"]
    assert list(shown.sparsity[0]["trained"].unique()) == kinds
    assert list(shown.first_layers) == kinds, "the control beside what is trained with dropout"
    assert [units.shape for units in shown.first_layers.values()] == [(64, 4)] * 2
    assert shown.missing == ""
    absent = shown_of(run, (2, 2), weights, None)
    assert (absent.images, absent.sparsity) == ({}, None)
    assert list(absent.first_layers) == kinds
    assert "not at hand" in absent.missing
    table = shown_of(run, None, weights, data)
    assert (table.images, table.first_layers) == ({}, {})
    wide = Dataset("toy", *[np.tile(features, 3), LABELS.astype(np.int64)] * 2, tuple("0123456789"))
    colour = shown_of(run, (2, 2, 3), lambda record: weights_of(1, (12, *record.settings.widths, 10)), wide)
    assert colour.images[example].tolist() == wide.test_x[example].reshape(2, 2, 3).tolist()
    linear = shown_of(plan.run_of(plan.arms[0], 0), None, weights, data)
    assert linear.sparsity is None
    assert linear.network.startswith("depth=1,control = depth=1,dropout=0.5, seed 0")
