"""The rules of docs/architecture.md that a parser can hold: who may import whom, and what nobody may call."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
MODULES = sorted((SRC / "droplab").rglob("*.py"))

FOUNDATION = {"errors", "config", "random", "presets", "stats"}
STAGES = ["data", "model", "train", "study", "report"]
FACES = {"api", "reproduce", "estimator", "export", "fit", "inputs", "predict", "cli", "serve"}
ENTRANCES = {"droplab", "__main__"}  # the public names and `python -m droplab`


def parts(path: Path, src: Path = SRC) -> tuple[str, ...]:
    """The dotted name of a file's module, in parts: `("droplab", "data", "idx")`."""
    return tuple(part for part in path.relative_to(src).with_suffix("").parts if part != "__init__")


def unit(name: tuple[str, ...]) -> str:
    """The stage, face or single module below `droplab` that a dotted name belongs to."""
    return name[1] if len(name) > 1 else name[0]


def rank(name: str) -> int:
    """The place of a unit from left to right; a KeyError for one that the design has no place for."""
    order = dict.fromkeys(FOUNDATION, 0) | {stage: place for place, stage in enumerate(STAGES, 1)}
    order |= dict.fromkeys(FACES, len(STAGES) + 1) | dict.fromkeys(ENTRANCES, len(STAGES) + 2)
    return order[name]


def imported(tree: ast.AST, path: Path, src: Path = SRC) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line and dotted name of everything a module imports, wherever in it, relative imports resolved."""
    package = parts(path, src) if path.name == "__init__.py" else parts(path, src)[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            for alias in node.names:
                yield node.lineno, (*base, alias.name)


def import_faults(path: Path, src: Path = SRC) -> list[str]:
    """Every import of one module that the way of the data forbids."""
    faults = []
    importer = unit(parts(path, src))
    for line, name in imported(ast.parse(path.read_text("utf-8")), path, src):
        where = f"{path.relative_to(src)}:{line}: {'.'.join(name)}"
        if (name[:2] == ("scipy", "stats") or name[0] == "statsmodels") and importer != "stats":
            faults.append(f"{where}: only stats tests and makes intervals")
        if "pickle" in name[0].lower():
            faults.append(f"{where}: no pickle is ever read from a file")
        if name[0] != "droplab" or name == ("droplab", "__version__"):
            continue
        target = unit(name)
        known = FOUNDATION | set(STAGES) | FACES | ENTRANCES
        if target not in known:
            faults.append(f"{where}: import from the module itself, not through `droplab`")
        elif importer not in known:
            faults.append(f"{where}: the design has no place for {importer}")
        elif target in {"cli", "serve"} and importer not in {target, "cli", "__main__"}:
            faults.append(f"{where}: nobody imports {target}")
        elif rank(target) > rank(importer):
            faults.append(f"{where}: {target} stands to the right of {importer}")
    return faults


def unpickling_faults(tree: ast.AST) -> list[str]:
    """What would unpickle: `torch.load`, and `allow_pickle` (of `np.load`) given as anything but False."""
    faults = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "torch":
            faults += [f"line {node.lineno}: torch.load" for alias in node.names if alias.name == "load"]
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load":
            faults.append(f"line {node.lineno}: torch.load")
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            faults.append(f"line {node.value.lineno}: allow_pickle={ast.unparse(node.value)}")
    return faults


def module_id(path: Path) -> str:
    return ".".join(parts(path))


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_a_module_imports_only_from_its_left(path: Path) -> None:
    assert import_faults(path) == []


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_a_module_never_unpickles(path: Path) -> None:
    assert unpickling_faults(ast.parse(path.read_text("utf-8"))) == []


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


def test_importing_droplab_imports_nothing_heavy() -> None:
    code = "import sys, droplab; print(sorted({'torch', 'numpy', 'pandas', 'sklearn', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        ("data/idx.py", "from droplab.model.network import Layer", "to the right"),
        ("data/idx.py", "from ..study import plan", "to the right"),
        ("data/__init__.py", "from ..train import step", "to the right"),
        ("config.py", "from .data import idx", "to the right"),
        ("config.py", "from . import data", "to the right"),
        ("train/step.py", "def f():\n    import droplab.report.page", "to the right"),
        ("report/page.py", "import droplab", "to the right"),
        ("report/page.py", "from droplab import Study", "not through"),
        ("study/plan.py", "from droplab.cli import main", "nobody imports cli"),
        ("api.py", "from droplab import cli", "nobody imports cli"),
        ("__init__.py", "from droplab.cli import main", "nobody imports cli"),
        ("helpers.py", "from droplab.errors import DroplabError", "no place"),
        ("data/files.py", "import pickle", "no pickle"),
        ("data/files.py", "from cloudpickle import loads", "no pickle"),
        ("report/axes.py", "from scipy.stats import t", "only stats"),
        ("report/card.py", "def f():\n    from scipy import stats", "only stats"),
        ("estimator/rows.py", "import statsmodels.api", "only stats"),
        ("stats/intervals.py", "from scipy import stats\nfrom statsmodels.stats import proportion", None),
        ("estimator/labels.py", "from scipy import sparse, special", None),
        ("cli/__init__.py", "from droplab import api\nfrom droplab.data import idx", None),
        ("__main__.py", "from droplab.cli import main", None),
        ("study/store.py", "from droplab import __version__\nfrom droplab.data import idx\nfrom . import plan", None),
    ],
)
def test_the_import_rule_sees_what_it_forbids(tmp_path: Path, file: str, text: str, fault: str | None) -> None:
    path = tmp_path / "droplab" / file
    path.parent.mkdir(parents=True)
    path.write_text(text, "utf-8")
    faults = import_faults(path, tmp_path)
    assert len(faults) == (fault is not None), faults
    assert fault is None or fault in faults[0]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("torch.load(path)", 1),
        ("from torch import load", 1),
        ("np.load(path, allow_pickle=True)", 1),
        ("np.load(path, allow_pickle=flag)", 1),
        ("np.load(path, allow_pickle=False)\nnp.load(path)\nload_file(path)", 0),
    ],
)
def test_the_unpickling_rule_sees_what_it_forbids(text: str, count: int) -> None:
    assert len(unpickling_faults(ast.parse(text))) == count
