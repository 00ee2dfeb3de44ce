"""The post, claim by claim: where the section stands, what it takes over from the post, and what it judges by."""

from dataclasses import replace
from itertools import chain

import pytest

import report_data
from droplab.config import StudySettings, load_study
from droplab.errors import ConfigError
from droplab.presets import preset_names, reproduction_names
from droplab.report.figures import study_figures
from droplab.report.markdown import render_markdown
from droplab.report.page import render_page
from droplab.report.post import agreement_words, figures_table, judged, post_times_table
from droplab.study.names import hidden_words
from droplab.study.post import PostFigure, load_post, parse_post, post_beside, repeated_post
from droplab.study.reproduction import load_reproduction
from droplab.train.outcome import Way
from report_data import ORIGIN, POST, findings_of, made_up_study
from test_markdown import Seen as SeenMarkdown
from test_page import Seen

HEADING = "The post, claim by claim"
KINDS = ["labels", "better", "overfitting", "falls", "large", "faster", "faster", "open"]


def beside_of(missing=0, noise=0.0003, **values):
    beside = post_beside(findings_of(*made_up_study(missing, noise, **values)))
    assert beside is not None
    return beside


def judgements(beside):
    """By kind; of the two that are about the GPU, the one for as many epochs as the post's."""
    return {one.conclusion.kind: one for one in reversed(judged(beside))}


def shifted(accuracies, points):
    return tuple(accuracy + points / 100 for accuracy in accuracies)


def test_the_post_has_thirty_figures_and_those_on_test_are_the_reproductions() -> None:
    post = load_post()
    figures = {
        one.depth: tuple(tuple(mode.model_dump().values()) for mode in (one.off, one.on)) for one in post.networks
    }
    assert figures == POST
    assert len(list(chain(*chain(*figures.values())))) == 30
    published = {(row.x, row.inference): row.error for row in load_reproduction("post").rows if row.error is not None}
    for one in post.networks:
        for mode in ("off", "on"):
            assert 100 * (1 - getattr(one, mode).test) == pytest.approx(published[one.depth, mode])


def test_its_file_is_no_preset_and_names_its_source() -> None:
    assert "published" not in [*preset_names(), *reproduction_names()]
    assert preset_names() == ["families", "mnist-depth", "mnist-depth-quick"]
    assert load_post().source == "Haribo, MNIST with DNN Regularzation, blog post, 14 April 2021"


@pytest.mark.parametrize(
    ("changed", "repeats"),
    [
        ({}, True),
        ({"seeds": 5}, True),
        ({"depths": [5]}, True),
        ({"depths": [3, 4, 5, 6, 7]}, True),
        ({"dropout": [0.2, 0.5]}, True),
        ({"mc_samples": 3}, True),
        ({"name": "mine", "question": "And here?"}, True),
        ({"depths": [6, 7]}, False),
        ({"dropout": [0.2]}, False),
        ({"epochs": 399}, False),
        ({"momentum": 0.9}, False),
        ({"first_width": 256}, False),
        ({"data": "fashion-mnist"}, False),
        ({"split_seed": 2}, False),
        ({"regularizers": {"l2": 0.001}}, False),
        ({"vary": {"learning_rate": [0.05, 0.1]}}, False),
        ({"widths": [512]}, False),
    ],
)
def test_a_study_repeats_the_post_where_recipe_data_and_networks_are_its_own(changed, repeats: bool) -> None:
    settings = load_study("mnist-depth").override(**changed)
    assert (repeated_post(settings) is not None) == repeats


def test_the_quick_preset_is_not_the_post() -> None:
    assert repeated_post(load_study("mnist-depth-quick")) is None


def test_the_section_stands_in_page_and_markdown_of_such_a_study_and_of_no_other() -> None:
    plan, records = made_up_study(noise=0.0003)
    seen = Seen(render_page(findings_of(plan, records), ORIGIN, {}))
    markdown = SeenMarkdown(render_markdown(findings_of(plan, records), ORIGIN))
    assert seen.open == []
    assert ("h2", "id", "the-post") in seen.attributes
    assert ("a", "href", "#the-post") in seen.attributes
    for text in (seen.text, markdown.text):
        assert HEADING in text
        assert load_post().source in text
        for one in judged(post_beside(findings_of(plan, records))):
            assert one.conclusion.text in text
            assert one.judgement.capitalize() in text
            assert one.words in text
    assert all(one.original in seen.text for one in load_post().conclusions)
    other = made_up_study(epochs=20)
    assert HEADING not in Seen(render_page(findings_of(*other), ORIGIN, {})).text
    assert HEADING not in render_markdown(findings_of(*other), ORIGIN)
    assert "post" not in study_figures(findings_of(*other))


def test_all_thirty_figures_stand_beside_ours_with_difference_and_mark() -> None:
    beside = beside_of()
    table = figures_table(beside.figures)
    assert [row[0] for row in table.rows] == [
        f"{hidden_words(d)}, {mode}" for mode in ("off", "on") for d in range(1, 6)
    ]
    depth_2 = dict(zip(table.head, table.rows[1], strict=True))
    ours = beside.findings.replicates.by_seed(beside.arms[2], "off", "train", "accuracy").mean()
    assert depth_2["train: post"] == "98.97"
    assert depth_2["train: ours"] == f"{100 * ours:.2f}"
    assert float(depth_2["train: difference"].split()[0].replace("−", "-")) == pytest.approx(
        100 * ours - 98.97, abs=0.006
    )
    assert depth_2["train: difference"].endswith(("✓", "✗"))
    known = [one for one in beside.figures if one.agrees is not None]
    marks = [cell[-1] for row in table.rows for cell in row[1:] if cell[-1] in "✓✗"]
    assert len(marks) == len(known)
    assert f"Of {len(known)} figures of the post" in agreement_words(known)
    assert f", {marks.count('✓')} lie where one more seed" in agreement_words(known)


@pytest.mark.parametrize(
    ("theirs", "ours", "agrees"),
    [
        (0.98, (0.979, 0.980, 0.981), True),
        (0.99, (0.979, 0.980, 0.981), False),
        (0.9999, (0.99988, 0.999881, 0.999879), True),  # as near as the post's four decimals can say
        (0.9998, (0.99988, 0.999881, 0.999879), False),
        (0.98, (0.98,), None),
        (0.98, (0.98, 0.98), None),
        (0.98, (), None),
    ],
)
def test_a_figure_agrees_that_one_more_seed_of_ours_could_give_up_to_its_rounding(theirs, ours, agrees) -> None:
    assert PostFigure(2, "off", "test", theirs, 0.00005, ours).agrees is agrees


def test_no_interval_goes_beyond_what_an_accuracy_can_be() -> None:
    interval = PostFigure(2, "off", "train", 0.9999, 0.00005, (0.999, 1.0)).interval
    assert interval is not None
    assert interval[0] < 0.999
    assert interval[1] == 1.0


def test_what_dropout_does_is_judged_by_the_studys_own_comparisons() -> None:
    beside = beside_of(dropout=[0.2, 0.5], seeds=4)
    compared = findings_of(beside.findings.plan, beside.findings.records).contrasts
    own = [one.comparison.verdict for one in compared if one.arm.dropout == 0.5 and one.arm.depth > 1]
    steps = findings_of(beside.findings.plan, beside.findings.records).deeper
    deeper = [one.comparison.verdict for one in steps if one.arm.dropout == one.against.dropout == 0.5]
    found = judgements(beside)
    assert found["better"].numbers.rows[-1] == ("verdict", *own)
    assert found["large"].numbers.rows[-1] == ("verdict", *own)
    assert found["falls"].numbers.rows[-1] == ("verdict", *deeper)


@pytest.mark.parametrize(("control", "judgement"), [(-2.0, "holds"), (2.0, "does not hold"), (0.0, "not shown")])
def test_dropout_raises_test_accuracy_if_it_does_against_the_true_control(monkeypatch, control, judgement) -> None:
    moved = {depth: (*off[:2], off[2] + control / 100) for depth, (off, _) in POST.items()}
    monkeypatch.setattr(report_data, "CONTROL", moved)
    found = judgements(beside_of(noise=0.002))
    assert found["better"].judgement == judgement
    assert found["overfitting"].judgement == judgement
    assert len(found["better"].numbers.rows) == 3


def test_a_conclusion_that_is_true_of_some_depths_holds_in_part(monkeypatch) -> None:
    monkeypatch.setitem(report_data.CONTROL, 3, shifted(POST[3][0], -2))
    monkeypatch.setitem(report_data.CONTROL, 4, shifted(POST[4][0], 1))
    assert judgements(beside_of())["better"].judgement == "holds in part"


def test_the_gap_that_the_post_sees_is_not_what_dropout_changes() -> None:
    found = judgements(beside_of())["large"]
    assert found.judgement == "does not hold"
    assert "at 4 of 4 depths" in found.words
    assert found.numbers.rows[0] == ("the post: off − left on", "+0.61", "+1.10", "+1.24", "+1.04")


def test_what_the_post_calls_no_dropout_is_dropout_left_on() -> None:
    found = judgements(beside_of())["labels"]
    assert found.judgement == "does not hold"
    assert (
        "Of 4 such figures on test, 4 could be another seed of our networks with dropout left on, 0 of" in found.words
    )


def test_it_would_hold_if_the_control_gave_such_figures_and_dropout_left_on_did_not(monkeypatch) -> None:
    monkeypatch.setattr(report_data, "CONTROL", {depth: on for depth, (_, on) in POST.items()})
    monkeypatch.setattr(report_data, "POST", {depth: (off, shifted(off, -5)) for depth, (off, _) in POST.items()})
    assert judgements(beside_of())["labels"].judgement == "holds"


def test_accuracy_falls_with_depth_where_its_steps_do(monkeypatch) -> None:
    found = judgements(beside_of())["falls"]
    assert found.judgement == "holds in part", "from 4 to 5 layers it falls, in the post, too"
    assert "rises in 3 of 4 steps with dropout off, in 1 with dropout left on" in found.words
    assert found.numbers.rows[0] == ("the post: dropout off", "+5.71", "+0.26", "+0.01", "−0.28")
    falling = {depth: (shifted(POST[1][0], -depth), POST[depth][1]) for depth in POST}
    monkeypatch.setattr(report_data, "POST", falling)
    assert judgements(beside_of())["falls"].judgement == "holds"
    rising = {depth: (shifted(POST[1][0], depth), POST[depth][1]) for depth in POST}
    monkeypatch.setattr(report_data, "POST", rising)
    assert judgements(beside_of())["falls"].judgement == "does not hold"


def test_one_seed_cannot_tell_and_shows_its_figures_without_marks() -> None:
    beside = beside_of(seeds=1)
    assert {one.judgement for one in judged(beside)} == {"cannot be told from this study"}
    assert "30 of the post's 30 figures" in agreement_words(beside.figures)
    assert not any(mark in cell for row in figures_table(beside.figures).rows for cell in row for mark in "✓✗")
    assert judgements(beside)["better"].numbers.rows[-1] == ("verdict", *["one seed"] * 4)


@pytest.mark.parametrize("missing", [1, 12, 20])
def test_a_study_that_is_not_finished_shows_what_there_is(missing: int) -> None:
    plan, records = made_up_study(missing)
    assert HEADING in Seen(render_page(findings_of(plan, records), ORIGIN, {})).text
    assert HEADING in render_markdown(findings_of(plan, records), ORIGIN)
    beside = post_beside(findings_of(plan, records))
    assert [one.conclusion.kind for one in judged(beside)] == KINDS
    assert len(figures_table(beside.figures).rows) == 10


def test_without_any_finished_network_nothing_is_compared() -> None:
    beside = beside_of(missing=27)
    assert agreement_words(beside.figures) == "No network of the post is finished here."
    assert {one.judgement for one in judged(beside)} == {"cannot be told from this study"}
    assert all(one.numbers is None for one in judged(beside))


def test_depths_that_the_study_lacks_have_no_figures_of_ours() -> None:
    beside = beside_of(depths=[2, 3, 7])
    table = figures_table(beside.figures)
    assert [row[2] == "–" for row in table.rows] == [True, False, False, True, True] * 2
    found = judgements(beside)
    assert found["better"].numbers.head == ("accuracy (points)", "1 hidden layer", "2 hidden layers")
    assert found["falls"].numbers.head == ("accuracy (points)", "2 → 3 layers")


def test_times_stand_beside_ours_a_column_a_device() -> None:
    beside = beside_of()
    table = post_times_table(beside)
    assert table.head[:3] == ("network", "post: GPU (s)", "post: no GPU (s)")
    assert table.head[3] == "ours: Some CPU @ 2.00GHz (cpu), fp32, uncompiled, separate (s)"
    assert table.rows[4][:3] == ("4 hidden layers", "153", "634")
    mean = sum(record.outcome.train_seconds for record in beside.trained(5)) / 3
    assert table.rows[4][3] == f"{mean:.0f}"


@pytest.mark.parametrize(
    ("seconds_on_gpu", "judgement", "judgement_1000"),
    [
        (5.0, "holds", "holds"),
        (20.0, "holds", "does not hold"),
        (50.0, "does not hold", "does not hold"),
        (None, *["cannot be told from this study"] * 2),
    ],
)
def test_a_gpu_is_faster_if_the_studys_own_networks_show_it(seconds_on_gpu, judgement, judgement_1000) -> None:
    plan, records = made_up_study()
    if seconds_on_gpu is not None:
        key = plan.run_of(next(arm for arm in plan.arms if arm.name == "depth=5,dropout=0.5"), 0).key
        one = records[key]
        outcome = replace(one.outcome, train_seconds=seconds_on_gpu)
        records[key] = replace(one, way=Way("cuda", "fp32"), outcome=outcome)
    gpu = [one for one in judged(post_beside(findings_of(plan, records))) if one.conclusion.kind == "faster"]
    assert [one.judgement for one in gpu] == [judgement, judgement_1000]
    assert gpu[0].words.startswith("The post, 5 layers: 153 s for 400 epochs on its GPU; 634 s, 4.1 times as long")
    assert ("(cuda)" in gpu[0].words) == (seconds_on_gpu is not None)


def test_the_chart_draws_what_there_is_and_has_its_numbers() -> None:
    figure = study_figures(findings_of(*made_up_study(missing=6)))["post"]
    (values,) = figure.chart.to_dict()["datasets"].values()
    beside = beside_of(missing=6, noise=0.0006)
    assert len(values) == sum(bool(one.ours) for one in beside.figures)
    assert len(figure.numbers.rows) == 30


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"decimals": 0}, "decimals"),
        ({"networks": []}, "networks"),
        ({"unknown": 1}, "there is no setting 'unknown'"),
        (
            {"networks": [{"depth": 1, "seconds": 1.0, "off": {"train": 1.2, "valid": 1, "test": 1}}]},
            "networks.0.off.train",
        ),
        ({"conclusions": [{"kind": "faster", "text": "a", "original": "b"}]}, "epochs belong to the kind faster"),
        ({"conclusions": [{"kind": "better", "text": "a", "original": "b", "epochs": 1}]}, "epochs belong to the kind"),
        ({"conclusions": [{"kind": "open", "text": "a", "original": "b"}]}, "needs a note"),
        ({"conclusions": [{"kind": "other", "text": "a", "original": "b"}]}, "conclusions.0.kind"),
    ],
)
def test_a_fault_in_the_posts_file_is_named(change, said) -> None:
    with pytest.raises(ConfigError, match="the post: ") as caught:
        parse_post(load_post().model_dump() | change)
    assert said in str(caught.value)


def test_a_depth_of_the_post_stands_once() -> None:
    networks = load_post().model_dump()["networks"]
    with pytest.raises(ConfigError, match="every depth may stand once"):
        parse_post(load_post().model_dump() | {"networks": [*networks, networks[0]]})


def test_the_recipe_of_the_post_is_a_study_of_one_rate() -> None:
    recipe = load_post().recipe
    assert isinstance(recipe, StudySettings)
    assert recipe.dropout == (0.5,)
    assert recipe.depths == tuple(one.depth for one in load_post().networks)
