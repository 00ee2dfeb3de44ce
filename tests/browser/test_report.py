"""The report in a real browser, from disk, with the network cut: what is drawn, what can be used, how it looks.

`DROPLAB_SCREENSHOTS=folder` keeps the pictures that a person should look at.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

import droplab
from droplab.data.output import Folder
from droplab.report.write import write_page
from report_data import ORIGIN, findings_of, made_up_study

pytestmark = pytest.mark.browser
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FIGURES = {
    "difference", "control", "loss", "overfitting", "inference", "samples", "reliability", "confusion", "activations",
}  # fmt: skip
PHONE, DESKTOP = 375, 1280


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a study of digits, trained here."""
    out = tmp_path_factory.mktemp("report")
    study = droplab.Study.preset("mnist-depth", data="digits", depths=(1, 2, 3), epochs=6, batch_size=64, seeds=3)
    with pytest.warns(UserWarning, match="trained again on train and valid"):
        # fp32: where there are no bf16 units, auto is a warning
        result = study.run(store=out / "store.sqlite", refit=True, precision="fp32")
    result.write(out / "out", "droplab study mine")
    return out / "out" / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: apt install chromium); found none on PATH")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@contextmanager
def opened(
    browser: Browser, report: Path, width: int = DESKTOP, scheme: str = "light", **options: object
) -> Iterator[Page]:
    """The report in a tab without network, charts drawn; whatever goes wrong in it fails the test."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
    context.set_offline(True)
    page, faults = context.new_page(), []
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else faults.append(asked.url))
    page.goto(report.as_uri())
    if options.get("java_script_enabled", True):
        page.wait_for_function(f"document.documentElement.dataset.drawn === '{scheme}'", timeout=60_000)
    yield page
    context.close()
    assert faults == []


def keep(page: Page, name: str) -> None:
    if folder := os.environ.get("DROPLAB_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def unfold(page: Page) -> None:
    page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")


def test_every_chart_is_drawn_once_and_has_its_numbers(browser, report):
    with opened(browser, report) as page:
        ids = page.eval_on_selector_all("figure.drawn", "all => all.map(one => one.id)")
        assert {name.removeprefix("figure-") for name in ids} == FIGURES
        unfold(page)
        for name in FIGURES:
            figure = page.locator(f"#figure-{name}")
            expect(figure.locator(".live svg")).to_be_visible()
            expect(figure.locator(".still")).to_be_hidden()
            assert figure.locator(".live svg path").count() > 3
            box = figure.locator(".live svg").bounding_box()
            assert box is not None
            assert box["width"] > 300, "also one that was folded when it was drawn"
            assert figure.locator("details tbody tr").count() >= 2
        keep(page, "light")


def test_the_first_screen_has_question_answer_and_the_chart_that_shows_it(browser, report):
    with opened(browser, report) as page:
        for part in (".question", "h1", ".deck", "#figure-difference .live svg", ".cards"):
            box = page.locator(part).first.bounding_box()
            assert box is not None
            assert box["y"] + box["height"] < 900
        assert "ropout" in page.locator("h1").inner_text()


def test_the_pointer_is_told_the_numbers_of_a_mark(browser, report):
    with opened(browser, report) as page:
        page.locator("#figure-difference .live .interval_group .mark-symbol path").last.hover()
        tooltip = page.locator("#vg-tooltip-element")
        expect(tooltip).to_contain_text("depth=3,dropout=0.5")
        expect(tooltip).to_contain_text(re.compile(r"difference \(points\)\s*[+−-]\d"))


def test_a_click_on_the_legend_fades_the_others(browser, report):
    def faint(page: Page) -> int:
        marks = "#figure-control .live .mark-symbol path[opacity], #figure-control .live .mark-line path[opacity]"
        return page.eval_on_selector_all(marks, "all => all.filter(one => +one.getAttribute('opacity') < 0.2).length")

    with opened(browser, report) as page:
        assert faint(page) == 0
        page.locator("#figure-control .live .role-legend-label text").first.click()
        page.wait_for_timeout(300)
        assert faint(page) > 0
        page.locator("#figure-control .live .role-legend-label text").last.click(modifiers=["Shift"])
        page.wait_for_timeout(300)
        assert faint(page) == 0, "with Shift the other one is picked, too"
        page.locator("#figure-control .live .role-legend-label text").first.click()
        page.wait_for_timeout(300)
        assert faint(page) > 0
        page.locator("#figure-control .live svg").dblclick(position={"x": 5, "y": 5})
        page.wait_for_timeout(300)
        assert faint(page) == 0, "a double click picks nothing any more, which is all"


def test_tables_are_sorted_by_mouse_and_by_keyboard(browser, report):
    def column(page: Page, number: int) -> list[float]:
        cells = page.locator("table.arms tbody tr").locator(f"td:nth-child({number})").all_inner_texts()
        return [float(cell.split(" ")[0]) for cell in cells]

    with opened(browser, report) as page:
        unfold(page)
        head = page.locator("table.arms thead th").nth(3)
        before = column(page, 4)
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        assert column(page, 4) == sorted(before)
        head.locator("button").focus()
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "descending"
        assert column(page, 4) == sorted(before, reverse=True)
        assert page.locator("table.arms th[aria-sort]").count() == 1
        page.locator("table.arms thead th").nth(1).locator("button").click()
        arms = page.locator("table.arms tbody tr").locator("td:nth-child(2)").all_inner_texts()
        assert arms == sorted(arms)
        page.locator("table.arms thead th").nth(0).locator("button").click()
        names = page.locator("table.arms tbody th").all_inner_texts()
        assert names == sorted(names)
        assert len(names) == 5, "the network that serves two arms is one row"


def test_numbers_of_a_chart_open_by_keyboard(browser, report):
    with opened(browser, report) as page:
        details = page.locator("#figure-loss details")
        expect(details.locator("table")).to_be_hidden()
        details.locator("summary").focus()
        page.keyboard.press("Enter")
        expect(details.locator("table")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_charts_can_be_read_in_both_themes(browser, report, scheme):
    """WCAG 2.2, 1.4.3: 4.5 to 1 for text, of the page and of its charts."""
    with opened(browser, report, scheme=scheme) as page:
        paper = luminance(page.eval_on_selector("body", "one => getComputedStyle(one).backgroundColor"))
        assert (paper > 0.5) == (scheme == "light")
        inks = page.eval_on_selector_all(
            "main p:not(.notice), td, th, summary, figcaption", "all => all.map(one => getComputedStyle(one).color)"
        )
        inks += page.eval_on_selector_all(
            ".live .role-axis-label text, .live .role-axis-title text, .live .role-legend-label text",
            "all => all.map(one => getComputedStyle(one).fill)",
        )
        for ink in set(inks):
            light, dark = sorted((luminance(ink), paper), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, ink
        keep(page, scheme)


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)`."""
    shares = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_change_of_theme_draws_the_charts_anew(browser, report):
    with opened(browser, report) as page:
        page.emulate_media(color_scheme="dark")
        page.wait_for_function("document.documentElement.dataset.drawn === 'dark'", timeout=60_000)
        assert page.locator("figure.drawn .live svg").count() == len(FIGURES)


def test_on_a_phone_nothing_is_wider_than_the_screen(browser, report):
    with opened(browser, report, width=PHONE) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
        for name in ("difference", "control", "loss", "inference", "activations"):
            box = page.locator(f"#figure-{name} .live svg").bounding_box()
            assert box is not None
            assert box["width"] <= PHONE, name
        keep(page, "phone")


def test_on_a_phone_every_difference_stands_beside_its_verdict_and_none_on_another(browser, tmp_path):
    write_page(Folder(tmp_path), findings_of(*made_up_study(epochs=12)), ORIGIN)
    with opened(browser, tmp_path / "report.html", width=PHONE) as page:
        words = page.locator("#figure-difference .live .mark-text.role-mark text")
        said = words.all_text_contents()
        assert said[0] == "does not apply"
        assert all(re.fullmatch(r"[+−]?\d+\.\d\d (helps|hurts|equivalent|undecided)", one) for one in said[1:])
        boxes = [words.nth(k).bounding_box() for k in range(words.count())]
        ends = sorted((box["y"], box["y"] + box["height"]) for box in boxes if box)
        assert len(ends) == 5
        assert all(above[1] <= below[0] for above, below in pairwise(ends))
        assert all(box["x"] + box["width"] <= PHONE for box in boxes if box)


def test_on_a_phone_a_grid_of_panels_becomes_a_column(browser, tmp_path):
    plan, records = made_up_study(depths=[2, 3], dropout=[0.2, 0.5], epochs=12)
    write_page(Folder(tmp_path), findings_of(plan, records), ORIGIN)
    with opened(browser, tmp_path / "report.html", width=PHONE) as page:
        for name in ("control", "inference"):
            box = page.locator(f"#figure-{name} .live svg").bounding_box()
            assert box is not None
            assert box["width"] <= PHONE, name
    with opened(browser, tmp_path / "report.html") as page:
        box = page.locator("#figure-control .live svg").bounding_box()
        assert box is not None
        assert box["width"] > 600


def test_without_scripts_the_pictures_are_there(browser, report):
    with opened(browser, report, java_script_enabled=False) as page:
        assert page.locator("figure .still svg").count() == len(FIGURES)
        expect(page.locator("#figure-difference .still svg")).to_be_visible()
        assert page.locator("th button").count() == 0, "nothing that could not be used"


def test_on_paper_charts_are_pictures_on_white(browser, report, tmp_path):
    with opened(browser, report, scheme="dark") as page:
        page.emulate_media(media="print", color_scheme="dark")
        expect(page.locator("#figure-control .still")).to_be_visible()
        expect(page.locator("#figure-control .live")).to_be_hidden()
        assert luminance(page.eval_on_selector("body", "one => getComputedStyle(one).backgroundColor")) > 0.9
        page.pdf(path=tmp_path / "report.pdf", format="A4")
        assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_the_file_is_one_and_small(report):
    assert report.stat().st_size < 10_000_000


def test_a_reader_gets_to_every_section_by_the_contents_which_stay_in_sight(browser, report):
    with opened(browser, report, width=1440) as page:
        links = page.locator("nav.contents a")
        assert links.count() >= 8
        for place in range(links.count()):
            links.nth(place).click()
            target = page.locator(str(links.nth(place).get_attribute("href")))
            page.wait_for_timeout(600)
            box = target.bounding_box()
            assert box is not None
            assert -2 <= box["y"] < 900
            expect(links.nth(0)).to_be_in_viewport()


def test_the_report_is_about_six_screens_and_half_as_many_words_as_it_was(browser, report):
    with opened(browser, report, width=1440) as page:
        assert page.evaluate("document.documentElement.scrollHeight") < 7.5 * 900
        assert len(page.inner_text("main").split()) < 1640
