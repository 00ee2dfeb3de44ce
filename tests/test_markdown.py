"""The report as Markdown: what a reader of a pull request sees of it, whatever a study is named and asks."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from droplab.report.cells import Table
from droplab.report.markdown import MOST_CHARACTERS, code, escaped, render_markdown, table
from report_data import ORIGIN, findings_of, made_up_study

HOSTILE = "<script>x</script> | `a` *b* __c__ [d](http://e) &lt; ~~f~~ $g$ \\| \x1b[31m\n# h"


class Seen(HTMLParser):
    """Tags, rows of cells, blocks of code and text of the HTML that Markdown becomes."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.markdown = markdown
        self.tags, self.rows, self.codes, self.words = [], [], [], []
        self.feed(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown))
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "code":
            self.codes.append("")

    def handle_endtag(self, tag):
        self.tags.append("/" + tag)

    def handle_data(self, data):
        self.words.append(data)
        last = next((tag for tag in reversed(self.tags) if tag in ("td", "th", "/td", "/th", "code", "/code")), "")
        if last in ("td", "th"):
            self.rows[-1][-1] += data
        elif last == "code":
            self.codes[-1] += data


def seen_of(missing=0, origin=ORIGIN, **values):
    plan, records = made_up_study(missing, **{"epochs": 20} | values)
    return Seen(render_markdown(findings_of(plan, records), origin))


def one_line(text):
    return "".join(sign if sign.isprintable() else "�" for sign in " ".join(text.split()))


def test_it_says_question_answer_verdicts_arms_best_and_how_to_repeat_it() -> None:
    seen = seen_of(name="mine", question="Does it help?")
    assert seen.text.startswith(
        "mine Question. Does it help? Answer. Dropout helps with 3 hidden layers; is undecided "
    )
    verdicts = [row for row in seen.rows if len(row) == 4 and row[0] != "network"]
    assert [row[0].count("→") for row in verdicts] == [1, 2, 3, 4, 5]
    assert verdicts[0][3] == "does not apply: no hidden layer"
    arms = [row for row in seen.rows if row[1].startswith("depth=")]
    assert len(arms) == 9, "one row for the network that serves both arms"
    assert arms[2][:3] == ["784→512→10, dropout 0.5", "depth=2,dropout=0.5", "3"]
    assert arms[2][4].startswith("97.9")
    assert "Chosen on valid: 784→512→256→128→10, dropout 0.5." in seen.text
    blocks = [block.rstrip("\n") for block in seen.codes]
    assert blocks == ["droplab study mnist-depth --seeds 5", ORIGIN.command, "f" * 12]
    assert "Data: mnist (50,000 train, 10,000 valid, 10,000 test; a mirror)" in seen.text
    assert "The batch was clipped to 800 examples." in seen.text


def test_what_is_missing_and_what_is_not_as_published_is_said() -> None:
    seen = seen_of(missing=4, reference="mnist-depth")
    assert "23 of 27 networks are finished." in seen.text
    assert "Differs from the published study 'mnist-depth': epochs 20 (published 400)" in seen.text
    assert "are finished" not in seen_of().text


def test_without_a_pair_there_are_no_verdicts() -> None:
    seen = seen_of(missing=1, widths=[8], depths=[], seeds=1)
    assert "Nothing can be said yet" in seen.text
    assert "against its control" not in seen.text
    assert [row[0] for row in seen.rows] == ["network", "control"]


def test_hostile_text_is_shown_and_does_nothing() -> None:
    origin = replace(ORIGIN, data=HOSTILE, source=HOSTILE, notices=(HOSTILE,), command=f"droplab study\n```\n{HOSTILE}")
    seen = seen_of(question=HOSTILE, origin=origin)
    assert not {"script", "em", "a", "s", "img", "blockquote", "h3"} & set(seen.tags)
    assert seen.tags.count("strong") == 2, "question and answer"
    assert seen.tags.count("h1") == 1
    assert seen.text.count(one_line(HOSTILE)) == 5, "question, notice, command, data and source"
    assert seen.codes[-2].startswith("droplab study\n```\n<script>")


@pytest.mark.parametrize("text", [HOSTILE, "a|b", "a\\|b", "\\", "`", "_x_", "snake_case", "1 < 2 & 3", "- a", "# b"])
def test_a_cell_is_shown_as_it_is(text: str) -> None:
    seen = Seen(table(Table(("name", "value"), [(text, "1")])))
    assert seen.rows == [["name", "value"], [one_line(text), "1"]]


def test_a_name_within_words_stays_readable() -> None:
    assert escaped("first_width batch_size") == "first_width batch_size"


def test_the_largest_study_fits_in_a_comment_and_says_what_is_left_out() -> None:
    rates = [round(0.01 * rate, 2) for rate in range(1, 100)]
    plan, records = made_up_study(depths=[1, 2, 3, 4, 5], dropout=rates, seeds=1, epochs=2, question="|" * 9000)
    origin = replace(ORIGIN, notices=("|" * 5000,) * 40, command="x" * 8000, source="|" * 5000, data="|" * 5000)
    text = render_markdown(findings_of(plan, records), origin)
    assert 60_000 < len(text) < MOST_CHARACTERS
    seen = Seen(text)
    arms = sum(row[1].startswith("depth=") for row in seen.rows)
    verdicts = sum(row[0].startswith("784→") for row in seen.rows) - arms
    for shown, left_out in ((verdicts, 397), (arms, 401)):
        assert shown > 50
        assert f"… and {left_out - shown} rows more, for which there is no room here." in seen.text
    assert "… and 20 notes more" in seen.text
    assert seen.codes[-2] == "x" * 8000 + "\n"


@pytest.mark.parametrize("room", range(200, 1200, 50))
def test_a_table_never_takes_more_than_its_room(room: int) -> None:
    shown = Table(("name", "value"), [("x" * 40, "y")] * 20)
    assert len(table(shown, room)) <= room
    assert ("rows more" in table(shown, room)) == (room < 1130)


def test_a_command_without_end_is_only_named() -> None:
    assert code("x" * 8001) == "The command is too long to stand here; it is in `study.json`."
