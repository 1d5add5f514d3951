"""Images: folders, tars, CIFAR archives packed, unpacked and downloaded, the array file."""

import gc
import hashlib
import http.server
import io
import subprocess
import tarfile
import threading

import numpy as np
import pytest

from archrank.train_ground_truth import download as downloads
from archrank.train_ground_truth import load_images, prepare_data
from archrank.train_ground_truth.data import DataError
from archrank.train_ground_truth.recipe import recipe_from_dict


def cifar_files(kind, n=4, seed=0):
    """Files of the layout of the binary archive, `n` records in each."""
    rng = np.random.default_rng(seed)
    head, names = (1, [f"data_batch_{i}.bin" for i in range(1, 6)]) if kind == "cifar-10" else (2, ["train.bin"])
    names = [*names, "test_batch.bin" if kind == "cifar-10" else "test.bin"]
    records = {name: rng.integers(0, 256, (n, head + 3072), dtype=np.uint8) for name in names}
    for r in records.values():
        r[:, :head] %= 10
    return head, records


def tar_of(files, folder, compression="gz"):
    """Bytes of a tar with these files (name: bytes) in a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def cifar_archive(kind, **settings):
    _, records = cifar_files(kind, **settings)
    return tar_of({name: r.tobytes() for name, r in records.items()}, f"{kind}-binary")


def test_images_are_decoded_once_and_a_damaged_copy_is_made_anew(pictures, tmp_path):
    first = load_images(pictures, 8, cache=tmp_path)
    (file,) = tmp_path.glob("images-*.safetensors")
    assert first.train[0].shape == (60, 3, 8, 8)
    assert first.classes == ("ant", "bee", "cat")
    stamp = file.stat().st_mtime_ns
    assert load_images(pictures, 8, cache=tmp_path).sha256 == first.sha256
    assert file.stat().st_mtime_ns == stamp
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    assert load_images(pictures, 8, cache=tmp_path).sha256 == first.sha256
    assert file.stat().st_mtime_ns != stamp


@pytest.mark.parametrize("compression", ["gz", "xz", ""])
def test_tar_of_pictures_equals_folder(pictures, tmp_path, compression):
    archive = tmp_path / "pictures.tar"
    with tarfile.open(archive, f"w:{compression}") as tar:
        tar.add(pictures, "pictures")
    assert load_images(archive, 8, cache=tmp_path).sha256 == load_images(pictures, 8, cache=tmp_path).sha256


@pytest.mark.parametrize("kind", ["cifar-10", "cifar-100"])
def test_cifar_packed_and_unpacked(tmp_path, kind):
    head, records = cifar_files(kind)
    unpacked = tmp_path / f"{kind}-binary"
    unpacked.mkdir()
    for name, r in records.items():
        (unpacked / name).write_bytes(r.tobytes())
    packed = tmp_path / "packed.tar.gz"
    packed.write_bytes(cifar_archive(kind))
    images = load_images(unpacked, 32, cache=tmp_path / "cache")
    *train, test = records.values()
    for (x, y), expected in ((images.train, np.concatenate(train)), (images.test, test)):
        np.testing.assert_array_equal(x, expected[:, head:].reshape(-1, 3, 32, 32))
        np.testing.assert_array_equal(y, expected[:, head - 1])
    assert len(images.classes) == int(kind.removeprefix("cifar-"))
    assert load_images(packed, 32, cache=tmp_path / "cache").sha256 == images.sha256
    assert load_images(tmp_path, 32, cache=tmp_path / "cache").sha256 == images.sha256  # found below
    with pytest.raises(DataError, match="asked for 8; let the recipe pool them"):
        load_images(packed, 8, cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-7], "not a multiple of 3073"),
        (lambda content: bytes([77]) + content[1:], "label 77, expected 0 to 9"),
        (None, "data_batch_1..5.bin"),
    ],
)
def test_damaged_cifar_files(tmp_path, change, message):
    _, records = cifar_files("cifar-10")
    files = {name: r.tobytes() for name, r in records.items()}
    first = files.pop("data_batch_1.bin")
    if change:
        files["data_batch_1.bin"] = change(first)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_images(tmp_path, 32, cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("kind", "folder", "names"),
    [
        ("cifar-10", "cifar-10-batches-py", ["batches.meta", *(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]),
        ("cifar-100", "cifar-100-python", ["meta", "train", "test", "file.txt~"]),
    ],
)
def test_the_python_archives_name_the_binary_one(tmp_path, kind, folder, names):
    files = dict.fromkeys(names, b"\x80\x02}q\x01.")
    packed = tmp_path / f"{kind}-python.tar.gz"
    packed.write_bytes(tar_of(files, folder))
    (tmp_path / folder).mkdir()
    for name, content in files.items():
        (tmp_path / folder / name).write_bytes(content)
    for source in (packed, tmp_path / folder):
        with pytest.raises(DataError, match=f"get {kind}-binary.tar.gz instead") as caught:
            load_images(source, 32, cache=tmp_path / "cache")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("compression", ["gz", "xz"])
def test_a_truncated_archive_is_a_clear_error(pictures, tmp_path, compression):
    archive = tmp_path / "pictures.tar"
    with tarfile.open(archive, f"w:{compression}") as tar:
        tar.add(pictures, "pictures")
    archive.write_bytes(archive.read_bytes()[:3000])
    with pytest.raises(DataError, match="not a readable tar"):
        load_images(archive, 8, cache=tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_unusable_images_are_clear_errors(pictures, tmp_path):
    with pytest.raises(FileNotFoundError, match="a name to download: cifar10, cifar100"):
        load_images(tmp_path / "nothing")
    with pytest.raises(DataError, match="holds no pictures"):
        load_images(tmp_path)
    broken = tmp_path / "broken"
    (broken / "train" / "ant").mkdir(parents=True)
    (broken / "train" / "ant" / "0.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"cannot decode train/ant/0\.png"):
        load_images(broken)
    not_tar = tmp_path / "x.tar"
    not_tar.write_bytes(b"hello")
    with pytest.raises(DataError, match="not a readable tar"):
        load_images(not_tar)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"train": 600, "val": 1}}, "wants 600"),
        ({"space": {"image_size": 16, "classes": 3}}, "wants images of 16 pixels"),
        ({"space": {"image_size": 8, "classes": 2}}, "has 2 classes, the data has 3"),
    ],
)
def test_images_that_do_not_suit_the_recipe(pictures, change, message):
    plan = {"name": "x", "space": {"image_size": 8, "classes": 3}, "data": {"train": 48, "val": 12}, **change}
    with pytest.raises(DataError, match=message):
        prepare_data(load_images(pictures, 8), recipe_from_dict(plan), "cpu")


# -- downloads ----------------------------------------------------------------------------------------


class _Server(http.server.ThreadingHTTPServer):
    """Answers every request with (status, content, announced length); counts the requests."""

    def __init__(self, status, content, announced):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer, self.paths = (status, content, announced), []


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self):
        status, content, announced = self.server.answer
        self.server.paths.append(self.path)
        self.send_response(status)
        self.send_header("Content-Length", str(announced))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def serve(monkeypatch):
    """Start a server with one answer and point the downloads at it."""
    started = []

    def start(content, status=200, announced=None):
        server = _Server(status, content, len(content) if announced is None else announced)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        started.append((server, thread))
        monkeypatch.setenv("ARCHRANK_CIFAR_URL", f"http://127.0.0.1:{server.server_port}/data/")
        return server

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def archive(monkeypatch):
    """A small archive that passes for the published one."""
    content = cifar_archive("cifar-100")
    md5 = hashlib.md5(content).hexdigest()
    monkeypatch.setitem(downloads.ARCHIVES, "cifar100", ("cifar-100-binary.tar.gz", md5))
    return content


def test_a_named_data_set_is_downloaded_once_with_progress_on_stderr(serve, archive, tmp_path, capsys):
    server = serve(archive)
    images = load_images("cifar100", 32, cache=tmp_path)
    said = capsys.readouterr()
    assert said.out == ""
    assert "downloading cifar-100-binary.tar.gz" in said.err
    assert load_images("cifar100", 32, cache=tmp_path).sha256 == images.sha256
    assert server.paths == ["/data/cifar-100-binary.tar.gz"]
    file = tmp_path / "cifar-100-binary.tar.gz"
    assert file.read_bytes() == archive
    file.write_bytes(archive[:-5])  # damaged later: fetched again
    assert load_images("cifar100", 32, cache=tmp_path).sha256 == images.sha256
    assert len(server.paths) == 2


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda archive: {"content": archive[:-100]}, "MD5"),
        (lambda archive: {"content": archive[:-100], "announced": len(archive)}, "IncompleteRead"),
        (lambda archive: {"content": b"<html>come back later</html>"}, "MD5"),
        (lambda archive: {"content": b"gone", "status": 404}, "404"),
    ],
    ids=["truncated", "broken off", "wrong answer", "not found"],
)
def test_a_failed_download_is_a_clear_error_and_leaves_nothing(serve, archive, tmp_path, spoil, message):
    serve(**spoil(archive))
    with pytest.raises(DataError, match=message) as caught:
        load_images("cifar100", 32, cache=tmp_path)
    assert "cannot download http://127.0.0.1" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    del caught
    gc.collect()  # a connection left open is a warning, and so an error here


def test_a_server_that_is_down(serve, archive, tmp_path):
    server = serve(archive)
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match="set ARCHRANK_CIFAR_URL to a mirror"):
        load_images("cifar100", 32, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_cache_is_one_line_and_leaves_nothing(pictures, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    try:
        with pytest.raises(DataError, match=r"cannot keep .*: No space left on device; free \d+ MiB there, or name"):
            load_images(pictures, 8, cache=disk / "cache")
        assert [f for f in disk.rglob("*") if f.is_file()] == []
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_folder_of_that_name_wins_over_the_download(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar10").symlink_to(pictures, target_is_directory=True)
    assert load_images("cifar10", 8, cache=tmp_path / "cache").classes == ("ant", "bee", "cat")
