"""Drawing: charts → the bytes of pictures, by a child process, so that the chart library's death costs only these.

Where memory is limited (`ulimit -v`, a container) the library does not raise an error, it ends its process. This file
is the child's program, too, which imports nothing of droplab.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

FILES = ("svg", "png")
"""The kinds of files that a report has of each chart; PNG has twice the size."""

PAGE, LIBRARY = "page", "library.js"
"""The picture that stands in a page, the SVG without its title; what draws charts there, one script of Vega's."""

_LIBRARIES = {"1.9.0.post1": "3425bd951a44d478d0505c6b5d1e8d57656b6e9a4da7bfe88a718ce61d76e572"}
"""SHA-256 of `LIBRARY` by version of `vl-convert-python`: it takes seconds to make, so what has this hash is cached."""

_MOST_PROCESSES = 2
_PATIENCE = 600  # seconds
_TITLE = 14
"""Size of a title in pixels."""


def draw(
    charts: Mapping[str, tuple[str, Mapping[str, Any]]], kinds: tuple[str, ...], notify: Callable[[str], None]
) -> dict[str, bytes]:
    """Draw charts, each once, in processes side by side; nothing is fetched for it.

    Args:
        charts: title and specification of Vega-Lite, by name.
        kinds: of `FILES` and `PAGE`.
        notify: told why nothing could be drawn.

    Returns:
        Pictures by `NAME.KIND`, with `PAGE` also `LIBRARY`; empty if they could not be drawn.
    """
    kept = _kept_library() if PAGE in kinds else {}
    largest = sorted(charts, key=lambda name: -len(str(charts[name])))
    processes = max(1, min(_MOST_PROCESSES, os.cpu_count() or 1, len(largest)))
    shares = [{name: charts[name] for name in largest[k::processes]} for k in range(processes)]
    jobs: list[dict[str, Any]] = [{"charts": share, "kinds": kinds, "library": False} for share in shares]
    jobs[-1]["library"] = PAGE in kinds and not kept
    try:
        with ThreadPoolExecutor(len(jobs)) as threads:
            pictures = {name: picture for drawn in threads.map(_in_child, jobs) for name, picture in drawn.items()}
        if _is_library(pictures.get(LIBRARY, b"")):
            _keep_library(pictures[LIBRARY])
        return pictures | kept
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
        why = last if error.returncode > 0 else f"signal {-error.returncode}, as where memory is too small"
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        why = str(error)
    notify(f"the figures could not be drawn, all else is written: the chart library's process ended ({why})")
    return {}


def _in_child(job: dict[str, Any]) -> dict[str, bytes]:
    # -P: the modules beside this one must not be taken for the standard library's
    command, given = [sys.executable, "-P", __file__], json.dumps(job).encode()
    done = subprocess.run(command, input=given, capture_output=True, timeout=_PATIENCE, check=True)
    return {name: base64.b64decode(text) for name, text in json.loads(done.stdout).items()}


def _is_library(content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == _LIBRARIES.get(version("vl-convert-python"))


def _library_path() -> Path:
    from droplab.data.disk import cache_folder

    return cache_folder() / "charts" / f"vega-{version('vl-convert-python')}.js"


def _kept_library() -> dict[str, bytes]:
    """The library by its name, where it is cached."""
    with suppress(OSError):
        if _is_library(content := _library_path().read_bytes()):
            return {LIBRARY: content}
    return {}


def _keep_library(library: bytes) -> None:
    """Cache a library, if it can be written."""
    from droplab.data.disk import write_atomically
    from droplab.errors import DataError

    with suppress(OSError, DataError):
        _library_path().parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(_library_path()) as handle:
            handle.write(library)


def with_title(svg: str, title: str) -> str:
    """An SVG of Vega's with a title above it, in as many lines as its width needs."""
    head = re.match(r'(<svg [^>]*?)width="([\d.]+)" height="([\d.]+)" viewBox="0 0 [\d.]+ [\d.]+"([^>]*>)', svg)
    if head is None:
        raise ValueError("a chart was not drawn as an SVG with width, height and viewBox")
    width, height, line = float(head[2]), float(head[3]), 1.3 * _TITLE
    lines = textwrap.wrap(title, max(20, int(width / (0.56 * _TITLE))))
    room = line * len(lines) + 12
    size = f'width="{width:g}" height="{height + room:g}" viewBox="0 0 {width:g} {height + room:g}"'
    style = f'font-family="sans-serif" font-size="{_TITLE}px" font-weight="bold" fill="#333333"'
    texts = [f'<text x="5" y="{line * k + 2:g}" {style}>{html.escape(one)}</text>' for k, one in enumerate(lines, 1)]
    opened = f'{head[1]}{size}{head[4]}<rect width="100%" height="100%" fill="white"/>{"".join(texts)}'
    return f'{opened}<g transform="translate(0,{room:g})">{svg[head.end() : -len("</svg>")]}</g></svg>'


def _pictures(title: str, spec: dict[str, Any], kinds: Collection[str]) -> dict[str, bytes]:
    import vl_convert

    svg = vl_convert.vegalite_to_svg(spec)
    titled = with_title(svg, title)
    made: dict[str, Callable[[], bytes]] = {
        PAGE: svg.encode,
        "svg": titled.encode,
        "png": lambda: bytes(vl_convert.svg_to_png(titled, scale=2, ppi=72)),
        "pdf": lambda: bytes(vl_convert.svg_to_pdf(titled)),
    }
    return {kind: made[kind]() for kind in kinds}


def _main() -> None:
    with suppress(OSError):  # where memory runs out, Linux ends this process, and not the one that has the results
        Path("/proc/self/oom_score_adj").write_text("1000", "utf-8")
    import vl_convert

    job = json.load(sys.stdin)
    pictures = {
        f"{name}.{kind}": picture
        for name, (title, spec) in job["charts"].items()
        for kind, picture in _pictures(title, spec, job["kinds"]).items()
    }
    if job["library"]:
        pictures[LIBRARY] = vl_convert.javascript_bundle().encode()  # type: ignore[call-arg]  # its stub lacks the default
    json.dump({name: base64.b64encode(content).decode() for name, content in pictures.items()}, sys.stdout)


if __name__ == "__main__":
    _main()
