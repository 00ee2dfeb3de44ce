import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from droplab.data.output import LIST, Folder
from droplab.errors import DataError
from droplab.report import page
from droplab.report.answer import answer_of
from droplab.report.drawing import PAGE, draw
from droplab.report.network_charts import confusion
from droplab.report.pictures import image_png, signed_grid_png
from droplab.study.exhibits import Exhibits, confusion_frame
from droplab.study.frames import Replicates
from droplab.study.mistakes import Mistake, Mistakes
from report_data import ORIGIN, findings_of, made_up_study, write_all

HOSTILE = '<script>alert("x")</script><img src=x onerror=y>&amp;'


class Seen(HTMLParser):
    """What a browser would see of a page: its tags, attributes, text and table rows."""

    void = frozenset({"meta", "br", "wbr", "img", "link", "input", "hr"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words, self.rows, self.open, self.scripts = [], [], [], [], [], []
        self.feed(text)
        self.close()
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.void:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif "style" not in self.open:
            self.words.append(data)
        if self.rows and ("td" in self.open or "th" in self.open):
            self.rows[-1][-1] += data


def page_of(missing=0, origin=ORIGIN, figures=None, noise=0.0006, pictures=None, **values):
    plan, records = made_up_study(missing, noise, **{"epochs": 20} | values)
    return page.render_page(findings_of(plan, records), origin, figures or {}, pictures=pictures)


def reported(out, plan, records):
    return write_all(Folder(out), findings_of(plan, records))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "deep" / "er"
    plan, records = made_up_study(epochs=40)
    return out, reported(out, plan, records), plan, records


@pytest.fixture(scope="module")
def seen(written):
    return Seen((written[0] / "report.html").read_text("utf-8"))


def test_the_page_loads_nothing_and_runs_only_its_own_two_scripts(written, seen):
    loading = {"src", "href", "xlink:href", "srcset", "data", "action", "poster"}
    loaded = [found for found in seen.attributes if found[1] in loading and found[0] != "a"]
    assert {(tag, name) for tag, name, _ in loaded if not str(_).startswith("#")} <= {("img", "src")}
    assert all(str(value).startswith(("data:image/png;base64,", "#")) for _, _, value in loaded)
    links = [str(value) for tag, name, value in seen.attributes if (tag, name) == ("a", "href")]
    assert all(link.startswith(("#", "figures/", "data:text/csv;")) for link in links), "no link leaves the folder"
    assert not {"link", "iframe", "object", "embed", "base"} & set(seen.tags)
    (policy,) = [value for _, name, value in seen.attributes if name == "content" and "default-src" in value]
    assert policy.startswith("default-src 'none';")
    charts, run = seen.scripts[:-2], seen.scripts[-2:]
    assert all(json.loads(chart)["$schema"] for chart in charts)
    allowed = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in run]
    assert policy.endswith("script-src 'unsafe-eval' " + " ".join(f"'sha256-{one}'" for one in allowed))
    assert "vegaEmbed" in run[0]
    assert not [name for _, name, _ in seen.attributes if name.startswith("on")]
    text = (written[0] / "report.html").read_text("utf-8")
    assert not re.search(r"@import|url\((?!#)", text.replace(run[0], ""))
    assert len(text) < 10_000_000
    assert ("meta", "http-equiv", "Content-Security-Policy") in seen.attributes


def test_tags_are_closed_and_ids_stand_once(seen):
    assert seen.open == []
    ids = [value for _, name, value in seen.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = {m for _, _, value in seen.attributes for m in re.findall(r"url\(#([^)]*)\)", value or "")}
    assert used <= set(ids)


def test_the_figures_are_in_the_page(seen):
    assert seen.tags.count("svg") == 5
    assert len([value for _, name, value in seen.attributes if name == "id" and value.startswith("figure-")]) == 5
    assert seen.text.count("How to read it, and its numbers") == 5


def test_the_answer_is_the_title_and_comes_first_then_its_chart_then_the_rest(written):
    text = (written[0] / "report.html").read_text("utf-8")
    answer = answer_of(findings_of(*written[2:]))
    assert f"<title>{answer.title} · study</title>" in text
    order = [f"<h1>{answer.title}</h1>", answer.deck, "<figure", "Best network", "Was it trained enough?"]
    sections = ("what-helps", "learning", "inference", "mistakes", "times", "methods", "words")
    order += ["How sure is it?", *(f'<h2 id="{name}"' for name in sections)]
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_the_contents_lead_to_every_section_and_each_has_its_own_link(seen):
    ids = {value for _, name, value in seen.attributes if name == "id"}
    links = [value[1:] for _, name, value in seen.attributes if name == "href" and value.startswith("#")]
    assert set(links) <= ids
    headings = [value for tag, name, value in seen.attributes if tag in ("h2", "h3") and name == "id"]
    assert len(headings) >= 7
    assert all(links.count(heading) >= 2 for heading in headings), "once in the contents, once beside the heading"


def test_each_chart_has_its_numbers_as_csv_and_its_files(written, seen):
    out = written[0]
    links = [str(value) for _, name, value in seen.attributes if name == "href"]
    files = [link for link in links if link.startswith("figures/")]
    assert len(files) == 10
    assert all((out / link).is_file() for link in files)
    tables = [unquote(link.partition(",")[2]) for link in links if link.startswith("data:text/csv")]
    assert len(tables) == 5
    assert all(len(pd.read_csv(io.StringIO(table))) for table in tables)
    alone = page.render_page(findings_of(*written[2:]), ORIGIN, {})
    assert "figures/" not in alone, "a page without its folder has no links into it"


def test_the_network_that_serves_two_arms_stands_once_and_is_explained(written, seen):
    assert "27 networks: 9 settings, 3 seeds each. Where dropout cannot act, without a hidden layer" in seen.text
    main = [row for row in seen.rows if len(row) == 4 and row[3].startswith(("helps", "undecided", "does"))]
    assert [row[0] for row in main] == [
        "784→10",
        "784→512→10",
        "784→512→256→10",
        "784→512→256→128→10",
        "784→512→256→128→64→10",
    ]
    assert main[0][3] == "does not apply: no hidden layer"
    assert len([row for row in seen.rows if row[:1] == ["784→10"] and row[1:2] == ["depth=1,control"]]) == 1


def test_each_depth_has_its_verdict_in_words(written, seen):
    _, _, plan, records = written
    compared = findings_of(plan, records).contrasts
    rows = {row[0]: row for row in seen.rows}
    for one in compared:
        row = rows[f"{one.arm.name} − control"]
        assert row[1].startswith(one.comparison.verdict)
        assert row[8] == ("3" if one.comparison.look is None else "3 (look 1)")
    assert rows["depth=1,dropout=0.5 − control"][2:5] == ["–", "–", "–"]
    assert "depth=3,control − 1 hidden layer" in rows


def test_what_the_post_confused_is_said_in_words(seen):
    assert "that is not a network trained without dropout, which is the control" in seen.text
    head = next(row for row in seen.rows if "control, no dropout (%)" in row)
    assert head[3] == "left on: one mask (%)"


def test_origin_is_on_the_page(seen):
    origin = ("mnist-depth --seeds 3", "clipped to 800", "5 min 12 s", "2026-01-02 03:04 UTC", "a mirror", "f" * 64)
    for words in (*origin, "Some CPU", "fp32", "2.13.0"):
        assert words in seen.text


def test_class_accuracies_are_means_over_seeds(written, seen):
    _, _, plan, records = written
    results = findings_of(plan, records).results
    mean = 100 * Replicates(results).by_seed(plan.arms[4], "off", "test", "accuracy_class_7").mean()
    at = next(i for i, row in enumerate(seen.rows) if row[0] == "class")
    assert seen.rows[at + 8][0] == "7"
    assert seen.rows[at + 8][4] == f"{mean:.2f}"


@pytest.mark.parametrize("where", ["data", "source", "command", "classes", "notices"])
def test_a_hostile_name_stays_text(where):
    value = getattr(ORIGIN, where)
    hostile = (HOSTILE, *value[1:]) if isinstance(value, tuple) else HOSTILE
    seen = Seen(page_of(origin=replace(ORIGIN, **{where: hostile}), question=HOSTILE))
    assert seen.tags.count("script") == 2
    assert "img" not in seen.tags
    assert seen.text.count('<script>alert("x")</script>') >= 2


def test_a_hostile_class_stays_text_within_a_chart_and_its_numbers():
    frame = confusion_frame(np.array([0, 1]), np.array([1, 1]), ("a", HOSTILE + "</script>"))
    figure = confusion(frame, "net")
    pictures = draw({"confusion": figure.drawing}, (PAGE,), print)
    seen = Seen(page_of(figures={"confusion": figure}, pictures=pictures))
    assert seen.tags.count("script") == 3
    assert json.dumps(HOSTILE + "</script>") in json.dumps(json.loads(seen.scripts[0]))
    assert "img" not in seen.tags


def test_what_was_trained_again_is_said():
    plan, records = made_up_study(epochs=20)
    refits = {seed: records[plan.run_of(plan.arms[3], seed).key] for seed in range(3)}
    text = Seen(page.render_page(findings_of(plan, records, refits), ORIGIN, {})).text
    accuracies = [100 * record.outcome.metric("off", "test", "accuracy") for record in refits.values()]
    spread = f"{np.mean(accuracies):.3f} ± {np.std(accuracies, ddof=1):.3f} %"
    assert f"Trained again on train and valid together (60,000 examples), 3 seeds: test accuracy {spread}" in text
    assert "Trained again" not in Seen(page_of()).text


def test_the_network_that_valid_chose_is_shown_with_what_it_gets_wrong():
    plan, records = made_up_study(epochs=20)
    shown = Exhibits(
        network="depth=4,dropout=0.5, seed 1",
        confusion=None,
        mistakes=Mistakes(2, 1, 10_000, (Mistake(17, 3, 8, 2, {"depth=2,control": (2, 3)}), Mistake(99, 4, 9, 0, {}))),
        image_shape=(3, 3),
        images={17: np.eye(3)},
        first_layers={"no dropout (control)": np.eye(9), "dropout 0.5": np.eye(9)},
        units=(64, 512),
        missing="The data are not at hand.",
    )
    seen = Seen(page.render_page(findings_of(plan, records), ORIGIN, {}, shown))
    assert "gets 2 of 10,000 test examples wrong; every network of this study gets 1 of these wrong" in seen.text
    assert "3, taken for 8 right in 2 networksTest example 17: depth=2,control 2/3" in seen.text
    assert "4, taken for 9 right in no network" in seen.text
    assert "64 of 512 units" in seen.text
    assert "The data are not at hand." in seen.text
    images = [base64.b64decode(value.partition(",")[2]) for tag, name, value in seen.attributes if name == "src"]
    assert images == [image_png(np.eye(3)), *[signed_grid_png(np.eye(9, dtype=np.float32), (3, 3))] * 2]


def test_a_partial_study_says_how_much_is_there():
    assert "Partial: 22 of 27 networks are finished." in Seen(page_of(missing=5)).text
    assert "Partial" not in Seen(page_of()).text


def test_one_seed_is_told_that_it_cannot_tell():
    seen = Seen(page_of(seeds=1))
    assert "One seed cannot tell whether dropout helps" in seen.text
    assert "undecided: one seed cannot tell" in [row[1] for row in seen.rows if row[0].endswith("control")]
    assert "nan" not in seen.text.lower().split()


def test_what_differs_from_the_published_study_is_said():
    text = Seen(page_of(reference="mnist-depth", epochs=25, momentum=0.9)).text
    assert "published study 'mnist-depth': epochs 25 (published 400), momentum 0.9 (published 0)." in text
    assert "Differs" not in Seen(page_of(reference="mnist-depth", epochs=400)).text


def test_all_files_of_the_design_are_written_and_nothing_else(written):
    out, paths, _, _ = written
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    drawn = ("control", "difference", "inference", "loss", "overfitting")
    figures = [f"figures/{name}.{kind}" for name in drawn for kind in ("png", "svg")]
    assert names.pop(0) == LIST
    tables = (
        "curves.csv",
        "curves.parquet",
        "paper.bib",
        "paper.tex",
        "results.csv",
        "runs.csv",
        "study.json",
        "study.schema.json",
    )
    assert names == sorted([*tables, *figures, "report.html", "report.md"])
    assert sorted(str(path.relative_to(out)) for path in paths) == names


def test_results_csv_and_curves_parquet_read_back_as_they_were(written):
    out, _, plan, records = written
    assert (out / "results.csv").read_text().startswith("arm,seed,depth,dropout,inference,split,metric,value,widths\n")
    results = findings_of(plan, records).results
    pd.testing.assert_frame_equal(pd.read_csv(out / "results.csv"), results, check_exact=True)
    pd.testing.assert_frame_equal(pd.read_parquet(out / "curves.parquet"), findings_of(plan, records).curves)


def test_a_report_replaces_an_older_one_and_controls_alone_make_one(tmp_path):
    plan, records = made_up_study(depths=[2], dropout=[], epochs=5, seeds=1)
    Folder(tmp_path).write("report.html", b"old")
    reported(tmp_path, plan, records)
    text = Seen((tmp_path / "report.html").read_text("utf-8")).text
    assert "Nothing is compared: all networks are alike but for their seeds" in text
    assert "The study compares nothing." in text


def test_an_output_that_is_a_file_is_one_clear_error(tmp_path):
    plan, records = made_up_study(depths=[2], epochs=5, seeds=1)
    (tmp_path / "out").write_text("mine")
    with pytest.raises(DataError, match="must be a folder"):
        reported(tmp_path / "out", plan, records)
    assert (tmp_path / "out").read_text() == "mine"


def test_a_full_disk_is_one_clear_error_and_leaves_no_half_file(tmp_path, monkeypatch):
    plan, records = made_up_study(depths=[2], epochs=5, seeds=1)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match="No space left"):
        reported(tmp_path, plan, records)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_study_without_a_finished_run_has_no_report(tmp_path):
    plan, _ = made_up_study()
    with pytest.raises(DataError, match="at least one finished run"):
        reported(tmp_path / "out", plan, {})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("trained", "words"), [(9, "9 networks were trained from"), (0, "Nothing was trained for this page")]
)
def test_the_page_says_what_was_trained_now_and_what_was_reused(trained, words):
    plan, records = made_up_study(depths=[2, 3], epochs=3)
    text = page.render_page(findings_of(plan, records), replace(ORIGIN, trained=trained), {})
    assert words in " ".join(text.split())
