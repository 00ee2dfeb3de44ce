"""The command line. Every module here keeps its heavy imports inside its commands, so that `--help` is quick."""

from __future__ import annotations

import atexit
import gc
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress

import typer

from droplab import __version__
from droplab.cli import compare, data, doctor, export, fit, models, predict, regularizers, reproduce, runs, store, study
from droplab.cli.commands import Commands
from droplab.cli.say import wrapped

_GARBAGE = 50_000
"""New objects between two looks for garbage: at Python's 700 a quarter of the time of the imports goes into looking."""

_THREADS = 8  # as many as libraries and a study start, and some more
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")

app = typer.Typer(
    name="droplab",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A laboratory for the regularization of fully-connected networks. Type first:\n\n"
    "\b\n"
    "  droplab study mnist-depth-quick        does dropout help? (MNIST, minutes)\n"
    "  droplab fit people.csv --target class  a model for your own table\n"
    "  droplab presets                        more studies, and papers to repeat\n",
    epilog="Every command shows an example: droplab study --help. The Tab key completes commands, presets, data sets "
    "and files after `droplab --install-completion` and in a new terminal.",
)
_Commands = dict[str, tuple[Callable[..., None] | typer.Typer, str]]
_COMMANDS: dict[str, _Commands] = {
    "Ask which differences are real": {
        "study": (study.study, "Train what a study needs, and say which differences are real."),
        "report": (study.report, "Write a study's report again, from what is stored."),
        "reproduce": (reproduce.reproduce, "Set a paper's table or figure beside your own."),
        "compare": (compare.compare, "Compare two arms from what is stored, without training."),
        "presets": (study.presets, "List the studies and reproductions that there are."),
    },
    "Make and use a model": {
        "fit": (fit.fit, "Train a model on your data: the short way."),
        "predict": (predict.predict, "Say the class or number of each row, or image."),
        "evaluate": (models.evaluate, "Say how good a model is on a data set's test examples."),
        "train": (models.train, "Train one network, with every setting yours."),
        "export": (export.export, "Write a model as ONNX, torch.export or plain tensors."),
    },
    "Look at what there is": {
        "data": (data.app, "Data sets: list, fetch, verify, inspect, export."),
        "runs": (runs.app, "Stored networks: list, show, delete."),
        "regularizers": (regularizers.regularizers, "List the regularizers beside dropout."),
        "store": (store.app, "The store: copy, check."),
    },
    "Try this machine": {
        "doctor": (doctor.doctor, "Show what this machine has, and how fast it trains."),
    },
}
for _heading, _group in _COMMANDS.items():
    for _name, (_command, _words) in _group.items():
        if isinstance(_command, typer.Typer):
            app.add_typer(_command, name=_name, rich_help_panel=_heading, short_help=_words)
        else:
            app.command(_name, rich_help_panel=_heading, short_help=_words)(_command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
    debug: bool = typer.Option(False, "--debug", help="Show where an error arose; DROPLAB_DEBUG=1 likewise."),
) -> None:
    pass


def main() -> None:
    """Run the command line; an error is one line on stderr and exit code 1, with --debug after its traceback.

    SIGTERM and SIGHUP are as Ctrl-C, with exit codes of their own.
    """
    from droplab.errors import DroplabError

    gc.set_threshold(_GARBAGE)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait busily starve where cores are wanted
    came: list[int] = []

    def on_signal(number: int, _: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    asking = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in asking:
        signal.signal(number, on_signal)
    _do_with_few_threads()

    for stream in (sys.stdout, sys.stderr):  # a path or a sign that the terminal's encoding lacks is no error
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    debug = "--debug" in sys.argv[1:] or bool(os.environ.get("DROPLAB_DEBUG"))
    sys.argv[1:] = [word for word in sys.argv[1:] if word != "--debug"]  # wherever it stands
    try:
        app(prog_name="droplab")
    except SystemExit as ended:
        if came and ended.code == 128 + signal.SIGINT:
            sys.exit(128 + came[0])
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a library in Rust panics with one of its own
        if debug:
            traceback.print_exc()
        if isinstance(error, OSError):  # what is left in its buffer must not fail once more when Python ends
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        line = " ".join(str(error).split())
        if isinstance(error, MemoryError):
            line = f"memory is too small: {line or 'no more could be had'}. Free some, or ask for less at once."
        elif not isinstance(error, DroplabError | OSError):  # OSError: the disk is full, for one
            line = (
                f"droplab did not foresee this: {type(error).__name__}: {line[:300]}. Please report it, with what "
                "--debug shows."
            )
        with suppress(OSError):  # the terminal is gone
            line = "".join(sign if sign.isprintable() else "�" for sign in line)
            sys.stderr.write(wrapped(f"error: {line}", sys.stderr) + "\n")
        sys.exit(1)
    finally:
        for number in asking:
            signal.signal(number, signal.SIG_DFL)
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # Ctrl-C has nothing left to stop
        atexit.register(gc.freeze)  # to look through all modules once more takes half a second


def _do_with_few_threads() -> None:
    """Where the system lets this process start no more threads, have libraries need none: they would end it."""
    done = threading.Event()
    threads = [threading.Thread(target=done.wait, daemon=True) for _ in range(_THREADS)]
    try:
        for thread in threads:
            thread.start()
    except RuntimeError:
        os.environ |= dict.fromkeys(_THREAD_SETTINGS, "1")
    finally:
        done.set()
