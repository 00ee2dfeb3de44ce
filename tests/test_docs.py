"""The examples hold: doctests of every module (`make test`), code blocks of README.md and docs/*.md (`make docs`).

A page's ```bash blocks run as one script, then its ```python blocks as another, in the same empty folder. A block with
`<!-- not run: reason -->` on the line above it is left out, and shown as a skipped test with that reason. Pages of
docs/results and the log are left out as a whole: their commands take hours.
"""

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from postgres import USER, Postgres

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = [path for path in sorted((ROOT / "src/droplab").rglob("*.py")) if path.stem != "__main__"]
NOT_RUN = re.compile(r"<!--\s*not run:\s*(.+?)\s*-->")
TIME_LIMIT = 600  # seconds a script


class Block(NamedTuple):
    language: str
    start: int  # line number of the first line of code, counted from 1
    lines: list[str]
    not_run: str | None  # the reason


def blocks(text: str) -> list[Block]:
    """The fenced code blocks of a page, indented ones (in a list) included."""
    found, block, indent, above = [], None, "", ""
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.match(r"(\s*)```+\s*(\w*)", line)
        if block is not None and fence:
            found.append(block)
            block = None
        elif block is not None:
            block.lines.append(line.removeprefix(indent))
        elif fence:
            indent, reason = fence[1], NOT_RUN.search(above)
            block = Block(fence[2], number + 1, [], reason and reason[1])
        if line.strip():
            above = line
    assert block is None, f"the code block from line {block.start} is never closed"
    return found


def script(text: str, language: str) -> str:
    """A page's blocks of one language, everything else blank: an error's line number is the page's own."""
    lines = [""] * len(text.splitlines())
    for block in blocks(text):
        if block.language == language and block.not_run is None:
            lines[block.start - 1 : block.start - 1 + len(block.lines)] = block.lines
    return "\n".join(lines).rstrip()


def run(page: Path, language: str, folder: Path, env: dict[str, str]) -> None:
    """Run a page's script of one language, in a subfolder `work` of `folder`; on failure show what it printed."""
    code = script(page.read_text("utf-8"), language)
    if not code:
        return
    work, file = folder / "work", folder / language / page.name
    work.mkdir(exist_ok=True)
    file.parent.mkdir()
    if language == "bash":  # on line 1, which a block never starts on; bash takes no PS4 from root's environment
        code = f"set -euo pipefail; PS4='+ {page.name}:$LINENO: '; set -x" + code
    file.write_text(code + "\n", "utf-8")
    command = ["bash" if language == "bash" else sys.executable, str(file)]
    done = subprocess.run(
        command,
        cwd=work,
        env=env,
        check=False,
        timeout=TIME_LIMIT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    if done.returncode:
        pytest.fail(f"{page.name}, {language} blocks: exit {done.returncode}\n{done.stdout}", pytrace=False)


@pytest.fixture(scope="module")
def download_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all pages, so that a data set is fetched once."""
    return tmp_path_factory.mktemp("docs-cache")


@pytest.fixture(scope="module")
def environment(download_cache: Path) -> dict[str, str]:
    """What the commands of a page find; HOME and DROPLAB_STORE are each test's own already, see conftest.py."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {"PATH": path, "DROPLAB_CACHE_DIR": str(download_cache)}


@pytest.mark.docs
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in ("log.md", "cluster.md")], ids=lambda page: page.name
)
def test_the_code_blocks_of_a_page_run(page: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    for language in ("bash", "python"):
        run(page, language, tmp_path, os.environ | environment)


@pytest.mark.docs
@pytest.mark.ray
def test_the_code_blocks_from_a_laptop_to_a_cluster_run(
    tmp_path: Path, environment: dict[str, str], postgres: Postgres
) -> None:
    """With a server that is there; the cluster is begun and ended by the page."""
    env = os.environ | environment | {"PGHOST": str(postgres.folder), "PGUSER": USER}
    try:
        run(ROOT / "docs/cluster.md", "bash", tmp_path, env)
    except BaseException:
        subprocess.run(["ray", "stop", "--force"], env=env, check=False, capture_output=True)
        raise
    finally:
        postgres.psql("DROP DATABASE IF EXISTS lab WITH (FORCE)")


def in_the_tree(page: str) -> set[str]:
    """The files of the source tree on a page: lines of a path and what it is, indented by two below its folder."""
    tree = page[page.index("src/droplab/\n") :].partition("```")[0]
    found, folders = set(), list[str]()
    for line in tree.splitlines():
        if entry := re.match(r"((?:  )+)([\w.]+/?)(?=  |$)", line):
            folders = [*folders[: len(entry[1]) // 2 - 1], entry[2]]
            found.add("".join(folders))
    return found


def test_the_tree_of_the_architecture_has_every_file() -> None:
    src = ROOT / "src/droplab"
    files = {str(path.relative_to(src)) for path in MODULES if path.stem != "__init__"}
    listed = in_the_tree((ROOT / "docs/architecture.md").read_text("utf-8"))
    assert sorted(file for file in files - listed if not file.startswith("cli/")) == []
    assert sorted(file for file in listed if not (src / file).exists()) == []


def test_the_readme_can_be_read_in_three_minutes() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 100


def test_every_page_that_is_linked_to_is_there() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def left_out() -> list[object]:
    return [
        pytest.param(block.not_run, id=f"{page.name}:{block.start}")
        for page in PAGES
        if page.is_file()
        for block in blocks(page.read_text("utf-8"))
        if block.not_run
    ]


@pytest.mark.docs
@pytest.mark.parametrize("reason", left_out())
def test_a_block_left_out_says_why(reason: str, request: pytest.FixtureRequest) -> None:
    pytest.skip(f"{request.node.callspec.id} not run: {reason}")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT / "src/droplab")))
def test_the_examples_in_docstrings_hold(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    module = importlib.import_module(".".join(part for part in parts if part != "__init__"))
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).failed == 0


PAGE = """# A page
```bash
echo kept > file
x=set
```
<!-- not run: takes hours -->
```bash
exit 7
```
Text, and a list:
- item

  ```bash
  test "$x" = set
  ```
```python
from pathlib import Path
text = Path("file").read_text()
```
```text
not code
```
```python
assert text == "kept\\n"
```
"""


def test_the_blocks_of_a_page_share_one_script_and_one_folder(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE, "utf-8")
    run(page, "bash", tmp_path, dict(os.environ))
    run(page, "python", tmp_path, dict(os.environ))
    assert [block.not_run for block in blocks(PAGE)].count("takes hours") == 1


@pytest.mark.parametrize(
    ("language", "code", "shown"),
    [
        ("bash", "echo before\nfalse\necho after", "+ page.md:5: false"),
        ("bash", "no-such-command-of-droplab | cat", "no-such-command-of-droplab"),
        ("python", "x = 1\nx.missing", "line 5"),
    ],
)
def test_a_block_that_fails_shows_its_line_and_output(tmp_path: Path, language: str, code: str, shown: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n```{language}\n{code}\n```\n", "utf-8")
    with pytest.raises(pytest.fail.Exception, match=re.escape(shown)):
        run(page, language, tmp_path, dict(os.environ))
