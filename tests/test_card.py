"""The model card: what it says of a network, and what it does not hide."""

from dataclasses import replace

import numpy as np
from scipy import stats

from droplab.model.file import ModelInfo
from droplab.report.card import render_card
from droplab.train.outcome import Metric
from report_data import CLASSES, ORIGIN, findings_of, made_up_study
from test_markdown import HOSTILE, Seen, one_line


def card_of(missing=0, seed=1, origin=ORIGIN, classes=CLASSES, noise=0.0006, metrics=(), **values):
    """The card of a made-up study's best arm, and what it was made of."""
    plan, records = made_up_study(missing, noise, **{"epochs": 20} | values)
    for key, record in records.items():
        records[key] = replace(record, outcome=replace(record.outcome, metrics=(*record.outcome.metrics, *metrics)))
    arm = findings_of(plan, records).best
    best = plan.run_of(arm, seed)
    found = findings_of(plan, records, best=best)
    info = ModelInfo(
        widths=best.settings.widths,
        dropout=best.settings.dropout,
        features=784,
        classes=classes,
        scale=1 / 255,
        image_shape=(28, 28),
        data=origin.data,
        fingerprint=plan.fingerprint,
        key=best.key,
        precision="fp32",
    )
    text = render_card(found, origin, info, "best.safetensors")
    return Seen(text), plan, records, arm, best


def test_it_says_data_splits_network_training_choice_command_and_versions() -> None:
    seen, _, records, arm, best = card_of()
    assert arm.name == "depth=4,dropout=0.5"
    assert seen.text.startswith("Model card: study, depth=4,dropout=0.5, seed 1 ")
    assert "mnist, from a mirror: 50,000 examples were trained on, 10,000 held out for validation" in seen.text
    assert "and 10,000 are the test split. 10 classes; 784 features" in seen.text
    assert "Licence of the data: CC BY-SA 3.0" in seen.text
    rows = dict(row for row in seen.rows if len(row) == 2)
    assert rows["units, layer by layer"] == "784 → 512 → 256 → 128 → 10"
    assert rows["parameters"] == f"{785 * 512 + 513 * 256 + 257 * 128 + 129 * 10:,}"
    for name, value in {k: v for k, v in best.settings.told().items() if k not in ("widths", "valid_fraction")}.items():
        assert rows[name] == (f"{value:g}" if isinstance(value, float) else str(value))
    assert rows["key"] == best.key
    environment = records[best.key].outcome.environment
    assert {name: rows[name] for name in environment} == {name: str(value) for name, value in environment.items()}
    assert ORIGIN.command + "\n" in seen.codes


def test_it_says_that_valid_chose_and_test_was_looked_at_once() -> None:
    seen, *_ = card_of()
    assert (
        "On valid, never on test. Of 10 arms depth=4,dropout=0.5 is the simplest whose mean accuracy on valid"
        in seen.text
    )
    assert "of its 3 seeds (0, 1, 2), seed 1 has the best" in seen.text
    assert "each network was evaluated on it once" in seen.text
    assert "depth=4,dropout=0.5 against depth=4,control: Helps: " in seen.text


def test_metrics_are_this_networks_the_mean_of_the_seeds_and_its_interval() -> None:
    seen, plan, records, arm, _ = card_of()
    values = [records[plan.run_of(arm, seed).key].outcome.metric("off", "test", "accuracy") for seed in range(3)]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    (row,) = [row for row in seen.rows if row[0] == "test accuracy (%)"]
    found = f"{100 * np.mean(values):.2f}", f"{100 * low:.2f} to {100 * high:.2f}"
    assert row[1:] == [f"{100 * values[1]:.2f}", *found]
    kinds = {row[0] for row in seen.rows if len(row) == 4}
    assert kinds >= {"test balanced accuracy (%)", "test macro F1 (%)", "test NLL (nats)", "valid accuracy (%)"}


def test_one_seed_has_no_interval_and_the_card_says_so() -> None:
    seen, *_ = card_of(seeds=1, seed=0)
    (row,) = [row for row in seen.rows if row[0] == "test accuracy (%)"]
    assert len(row) == 2
    assert "One seed: how much another would differ is not known." in seen.text
    assert "Student" not in seen.text
    assert "no spread" not in seen.markdown, "cells beyond the head are not shown, but they are there"


def test_seeds_without_spread_have_no_interval() -> None:
    seen, *_ = card_of(noise=0.0)
    (row,) = [row for row in seen.rows if row[0] == "test accuracy (%)"]
    assert row[-1] == "– (no spread)"


def test_an_interval_of_a_share_ends_at_what_a_share_can_be() -> None:
    seen, *_ = card_of(noise=0.02, seeds=2)
    ends = [row[-1].split(" to ") for row in seen.rows if len(row) == 4 and "(%)" in row[0] and " to " in row[-1]]
    assert ends
    assert all(0 <= float(low) <= float(high) <= 100 for low, high in ends)
    assert "100.00" in [high for _, high in ends]


def test_the_weakest_class_is_named() -> None:
    seen, *_ = card_of()
    assert "Its weakest class on test is 9: " in seen.text


def test_an_unfinished_study_is_said() -> None:
    assert "Only 23 of the study's 27 networks were finished" in card_of(missing=4)[0].text
    assert "Only" not in card_of()[0].text


def test_a_linear_network_is_called_one() -> None:
    seen, *_ = card_of(depths=[1])
    rows = dict(row for row in seen.rows if len(row) == 2)
    assert rows["hidden layers"] == "0: a linear classifier"
    assert rows["units, layer by layer"] == "784 → 10"


def test_many_seeds_are_not_all_listed() -> None:
    assert "(0 … 20), seed 1" in card_of(seeds=21, depths=[2])[0].text


def test_hostile_text_is_shown_and_does_nothing() -> None:
    origin = replace(ORIGIN, data=HOSTILE, source=HOSTILE)
    seen, *_ = card_of(origin=origin, classes=(*CLASSES[:-1], HOSTILE), question=HOSTILE, data="mine.npz")
    assert not {"script", "em", "a", "s", "img", "strong", "h3"} & set(seen.tags)
    assert seen.text.count(one_line(HOSTILE)) == 4, "question, data, source and class"
    assert "Licence" not in seen.text


def test_a_file_of_a_known_name_has_not_its_licence() -> None:
    seen, *_ = card_of(data="elsewhere/mnist")
    assert "Licence" not in seen.text


def test_it_says_whether_its_probabilities_can_be_believed() -> None:
    seen, *_ = card_of()
    assert "nothing was kept of that" in seen.text
    seen, *_ = card_of(
        metrics=(
            Metric("off", "test", "brier", 0.0312),
            Metric("off", "test", "ece", 0.0123),
            Metric("off", "valid", "temperature", 1.234),
            Metric("off", "test", "ece_calibrated", 0.0045),
        )
    )
    assert "calibration error is 1.23 %" in seen.text
    assert "Brier's score 0.0312" in seen.text
    assert "temperature 1.234, fitted on valid, would make that error 0.45 %" in seen.text
