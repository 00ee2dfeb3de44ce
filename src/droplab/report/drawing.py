"""Drawing: charts → the bytes of pictures, by a child process, so that the chart library's death costs only these.

Where memory is limited (`ulimit -v`, a container) the library does not raise an error, it ends its process. This file
is the child's program, too, and imports nothing of droplab.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

FILES = ("svg", "png", "pdf")
"""The kinds of files of a chart; PNG has twice the size."""

PAGE, LIBRARY = "page", "library.js"
"""The kind of picture that stands in a page, an SVG without title; what draws charts there, one script of Vega's."""

_PATIENCE = 600  # seconds


def draw(
    charts: Mapping[str, Mapping[str, Any]], kinds: tuple[str, ...], notify: Callable[[str], None]
) -> dict[str, bytes]:
    """Draw charts; nothing is fetched for it.

    Args:
        charts: specifications of Vega-Lite, by name.
        kinds: of `FILES` and `PAGE`.
        notify: told why nothing could be drawn.

    Returns:
        Pictures by `NAME.KIND`, with `PAGE` also `LIBRARY`; empty if they could not be drawn.
    """
    job = json.dumps({"charts": charts, "kinds": kinds}).encode()
    try:
        # -P: the modules beside this one must not be taken for the standard library's
        done = subprocess.run(
            [sys.executable, "-P", __file__], input=job, capture_output=True, timeout=_PATIENCE, check=True
        )
        return {name: base64.b64decode(text) for name, text in json.loads(done.stdout).items()}
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
        why = last if error.returncode > 0 else f"signal {-error.returncode}, as where memory is too small"
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        why = str(error)
    notify(f"the figures could not be drawn, all else is written: the chart library's process ended ({why})")
    return {}


def _drawn(spec: dict[str, Any], kind: str) -> bytes:
    import vl_convert

    if kind == "png":
        return bytes(vl_convert.vegalite_to_png(spec, scale=2, ppi=72))
    if kind == "pdf":
        return bytes(vl_convert.vegalite_to_pdf(spec))
    shown = {key: value for key, value in spec.items() if key != "title"} if kind == PAGE else spec
    return vl_convert.vegalite_to_svg(shown).encode()


def _main() -> None:
    with suppress(OSError):  # where memory runs out, Linux ends this process, and not the one that has the results
        Path("/proc/self/oom_score_adj").write_text("1000", "utf-8")
    import vl_convert

    job = json.load(sys.stdin)
    pictures = {f"{name}.{kind}": _drawn(spec, kind) for name, spec in job["charts"].items() for kind in job["kinds"]}
    if PAGE in job["kinds"]:
        pictures[LIBRARY] = vl_convert.javascript_bundle().encode()  # type: ignore[call-arg]  # its stub lacks the default
    json.dump({name: base64.b64encode(content).decode() for name, content in pictures.items()}, sys.stdout)


if __name__ == "__main__":
    _main()
