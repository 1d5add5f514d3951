"""Downloads of published tables, from a server of our own that can misbehave."""

import errno
import gc
import hashlib
import http.server
import itertools
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import archrank
from archrank._download import DownloadError, cache_folder, download
from archrank.benchmarks import fetch as fetching
from archrank.benchmarks.fetch import SOURCES
from archrank.ground_truth import TableError

RECORD = {"params": 5, "flops": 7}
CONTENT = json.dumps(
    {
        f"{a}{b}{c}00000": {"test_acc": [90.0, 91.0, 92.0 + a + b / 2 + c / 4], **RECORD}
        for a, b, c in itertools.product(range(3), repeat=3)
    }
).encode()
CONTENT += b" " * 200_000  # so that it comes in several pieces
KEPT = 2 << 16  # whole pieces of the first 150,000 bytes
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends `server.content`; `server` says how it goes wrong."""

    def do_GET(self):
        s = self.server
        asked = self.headers.get("Range")
        s.asked.append(asked)
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and s.ranges else 0
        status = s.status or (416 if first >= len(s.content) else 206 if first else 200)
        body = b"" if status == 416 else s.content[first:]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        stop = len(body) if s.break_after is None else s.break_after
        self.wfile.write(body[:stop])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.asked, server.ranges, server.status, server.break_after = CONTENT, [], True, None, None
    server.url = f"http://127.0.0.1:{server.server_port}/table.json"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
    gc.collect()  # a connection left open is a warning, and so an error here


@pytest.fixture
def get(server, tmp_path):
    """Download from the server, to a file in a folder that must be made first."""
    return lambda: download(server.url, tmp_path / "new" / "table.json", CHECKSUM)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_the_second_call_asks_for_nothing(get, server):
    file = get()
    assert file.read_bytes() == CONTENT
    assert names(file.parent) == ["table.json"]
    assert get() == file
    assert server.asked == [None]
    file.write_bytes(CONTENT[:-3])  # damaged later
    assert get().read_bytes() == CONTENT
    assert server.asked == [None, None]


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_goes_on(get, server, tmp_path, ranges):
    server.break_after, server.ranges = 150_000, ranges
    with pytest.raises(DownloadError, match="IncompleteRead") as caught:
        get()
    assert "\n" not in str(caught.value)
    del caught
    assert names(tmp_path / "new") == [".table.json.part"]
    assert (tmp_path / "new" / ".table.json.part").read_bytes() == CONTENT[:KEPT]
    server.break_after = None
    file = get()
    assert server.asked == [None, f"bytes={KEPT}-"]
    assert file.read_bytes() == CONTENT
    assert names(file.parent) == ["table.json"]


def test_a_process_killed_before_the_last_step(get, server, tmp_path):
    part = tmp_path / "new" / ".table.json.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    assert get().read_bytes() == CONTENT
    assert server.asked == []


def test_what_was_kept_is_of_another_file(get, server, tmp_path):
    part = tmp_path / "new" / ".table.json.part"
    part.parent.mkdir()
    part.write_bytes(b"x" * 100)
    with pytest.raises(DownloadError, match="has not the published SHA-256"):
        get()
    part.write_bytes(b"x" * (len(CONTENT) + 1))
    with pytest.raises(DownloadError, match="416"):
        get()
    assert names(part.parent) == []
    assert get().read_bytes() == CONTENT


def wrong(server):
    server.content = b"<html>come back later</html>"


def truncated(server):
    server.content = CONTENT[:-10]


def missing(server):
    server.status = 404


def down(server):
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (wrong, f"has not the published SHA-256 {CHECKSUM[7:23]}"),
        (truncated, "has not the published SHA-256"),
        (missing, "404"),
        (down, "refused"),
    ],
)
def test_failures_leave_nothing_and_an_older_file_alone(get, server, tmp_path, fault, message):
    fault(server)
    for before in ([], ["table.json"]):
        with pytest.raises(DownloadError, match=message) as caught:
            get()
        assert str(caught.value).startswith("cannot download http://127.0.0.1")
        assert "\n" not in str(caught.value)
        assert names(tmp_path / "new") == before
        (tmp_path / "new" / "table.json").write_bytes(b"older")
    assert (tmp_path / "new" / "table.json").read_bytes() == b"older"


def test_a_404_does_not_cost_what_has_arrived(get, server, tmp_path):
    server.break_after = 150_000
    with pytest.raises(DownloadError):
        get()
    server.break_after, server.status = None, 404
    with pytest.raises(DownloadError, match="404"):
        get()
    server.status = None
    assert get().read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={KEPT}-", f"bytes={KEPT}-"]


def test_a_full_disk(get, tmp_path, monkeypatch):
    real = Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            self.file.write(data[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Opened:
        def __init__(self, path, mode):
            self.file = real(path, mode)

        def __enter__(self):
            return Full(self.file)

        def __exit__(self, *_):
            self.file.close()

    monkeypatch.setattr(Full, "truncate", lambda self, size: self.file.truncate(size), raising=False)
    monkeypatch.setattr(Path, "open", lambda p, mode="r", **k: Opened(p, mode) if mode == "ab" else real(p, mode, **k))
    with pytest.raises(DownloadError, match="No space left on device"):
        get()
    assert names(tmp_path / "new") == []


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DownloadError, match="file"):
        download(server.url, tmp_path / "file" / "table.json", CHECKSUM)


def test_many_at_once_download_once(get, server):
    with ThreadPoolExecutor(8) as pool:
        files = list(pool.map(lambda _: get(), range(8)))
    assert {f.read_bytes() for f in files} == {CONTENT}
    assert server.asked == [None]
    assert names(files[0].parent) == ["table.json"]


# -- benchmarks by name -------------------------------------------------------------------------------


@pytest.fixture
def source(server, monkeypatch, tmp_path):
    """The server in place of the real source, an empty cache."""
    monkeypatch.setenv("ARCHRANK_CACHE", str(tmp_path / "cache"))
    url = server.url.replace("table", "nas-bench-macro_cifar10")
    monkeypatch.setitem(SOURCES, "nas-bench-macro", fetching.Source(url, CHECKSUM.removeprefix("sha256:")))
    return server


def test_fetch_then_report_by_name(source, run):
    code, _, err = run("benchmarks", "show", "nas-bench-macro")
    assert code == 2
    assert "or run `archrank benchmarks fetch nas-bench-macro` first" in err
    code, out, err = run("benchmarks", "fetch", "nas-bench-macro", "--json")
    told = json.loads(out)
    assert code == 0
    assert "downloading nas-bench-macro_cifar10.json" in err
    assert told["benchmark"] == "nas-bench-macro"
    assert told["file"] == str(cache_folder() / "benchmarks" / "nas-bench-macro_cifar10.json")
    assert told["sha256"] == hashlib.sha256(Path(told["file"]).read_bytes()).hexdigest()
    assert len(archrank.load_benchmark("nas-bench-macro")) == len(
        archrank.load_benchmark(f"nas-bench-macro:{told['file']}")
    )
    code, out, _ = run(
        "report", "nas-bench-macro", "--predictors", "gbdt:one_hot", "--trials", "2", "--n-train", "10", "--json"
    )
    assert code == 0
    assert json.loads(out)["benchmark"] == "nas-bench-macro"
    Path(told["file"]).write_bytes(CONTENT[:-1])  # no longer as published
    with pytest.raises(TableError, match="archrank benchmarks fetch"):
        archrank.load_benchmark("nas-bench-macro")


def test_fetch_to_a_folder(source, run, tmp_path):
    code, out, _ = run("benchmarks", "fetch", "nas-bench-macro", "--out", tmp_path / "here")
    assert "use it as nas-bench-macro:" in out
    assert code == 0
    assert (tmp_path / "here" / "nas-bench-macro_cifar10.json").read_bytes() == CONTENT
    assert not cache_folder().exists()


@pytest.mark.parametrize("fault", [wrong, truncated, missing, down])
def test_a_failed_fetch_ends_in_one_line(source, run, fault):
    fault(source)
    code, out, err = run("benchmarks", "fetch", "nas-bench-macro")
    last = [line for line in err.splitlines() if line.startswith("archrank: ")]
    assert (code, out, len(last)) == (2, "", 1)
    assert "cannot download http://127.0.0.1" in last[0]
    assert last[0].endswith("get the file by hand and give nas-bench-macro:FILE")


@pytest.mark.parametrize("name", ["bossnas-nats", "accel-nasbench", "no-such"])
def test_what_cannot_be_fetched(name, run):
    code, out, err = run("benchmarks", "fetch", name)
    assert (code, out) == (2, "")
    assert f"{name!r} cannot be fetched, only nas-bench-macro" in err


def test_checksums_are_those_of_the_published_files(nas_bench_macro_file):
    source = SOURCES["nas-bench-macro"]
    assert source.name == nas_bench_macro_file.name
    assert source.sha256 == hashlib.sha256(nas_bench_macro_file.read_bytes()).hexdigest()
