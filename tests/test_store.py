"""The store: whole records or none, damage, claims, a full or read-only disk."""

import contextlib
import json
import math
import os
import resource
import subprocess
import time

import pytest
from tiny import TINY

from archrank._swap import temporary
from archrank.train_ground_truth.files import write_atomically
from archrank.train_ground_truth.recipe import recipe_from_dict
from archrank.train_ground_truth.store import Store, StoreError

RECORD = {"code": [0, 3], "status": "ok", "metrics": {"test_acc": 61.25, "val_acc": [12.5, 58.0], "loss": 1e-5}}


@pytest.fixture
def store(recipe, tmp_path):
    return Store.create(tmp_path / "s", recipe, "abc")


@pytest.fixture
def disk(tmp_path):
    """A file system of 256 KiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def _file(store, key="a"):
    return store.folder / "records" / f"{key}.json"


def test_records_come_back_as_they_were_nan_included(store):
    record = {**RECORD, "metrics": {**RECORD["metrics"], "test_loss": math.nan, "curve": [1.0, math.inf]}}
    store.write("a", record)
    found = store.read("a")
    assert math.isnan(found["metrics"].pop("test_loss"))
    assert math.isnan(found["metrics"].pop("curve")[1])
    assert found == RECORD
    assert store.read("b") is None
    assert store.keys() == ["a"]


def test_no_flipped_bit_is_taken_for_a_result(store):
    store.write("a", RECORD)
    whole = _file(store).read_bytes()
    for at in range(len(whole)):
        for bit in (0, 5, 7):
            content = bytearray(whole)
            content[at] ^= 1 << bit
            _file(store).write_bytes(content)
            # A bit that turns a space into a tab or an e into an E alters no value.
            assert store.read("a") in (None, RECORD)


def test_a_record_that_is_being_written_is_none_yet(store):
    store.write("a", RECORD)
    part = temporary(_file(store, "b"))
    part.write_bytes(b'{"sha256": "12')
    assert store.keys() == ["a"]
    assert store.read_all() == {"a": RECORD}  # without a warning of damage


@pytest.mark.parametrize("content", [b"", b'{"sha256": "12', b"[]", b"null", b"\xff\xfe", b'{"record": 3}'])
def test_damage_is_set_aside_by_who_makes_the_record_anew(store, content):
    store.write("a", RECORD)
    _file(store).write_bytes(content)
    assert store.read("a") is None
    assert _file(store).exists()
    with pytest.warns(UserWarning, match="1 damaged records are left out, the first is a"):
        assert store.read_all() == {}
    with store.claim("a") as mine:
        assert mine
        assert not _file(store).exists()
        store.write("a", RECORD)
    assert _file(store).with_suffix(".json.damaged").read_bytes() == content
    assert store.read_all() == {"a": RECORD}


def test_only_one_claims_a_record_and_nobody_one_that_is_made(store):
    other = Store(store.folder)
    with store.claim("a", "b") as mine:
        assert mine
        for keys in (("a",), ("b",), ("c", "b")):
            with other.claim(*keys) as theirs:
                assert not theirs
        with other.claim("c") as theirs:  # the failed claim of c and b let go of c
            assert theirs
        store.write("a", RECORD)
    with other.claim("a") as theirs:
        assert not theirs
    with other.claim("a", "b") as theirs:
        assert theirs


def test_a_store_never_mixes_recipes_or_images(store, recipe):
    changed = recipe_from_dict({**TINY, "optimizer": {"lr": 0.5}})
    with pytest.raises(StoreError, match="never mixes recipes"):
        Store.create(store.folder, changed, "abc")
    with pytest.raises(StoreError, match="never mixes data"):
        Store.create(store.folder, recipe, "abd")
    store.write("a", {**RECORD, "recipe": "tiny", "recipe_hash": recipe.hash, "images": "abc"})
    (store.folder / "store.json").unlink()
    with pytest.raises(StoreError, match="never mixes recipes"):
        Store.create(store.folder, changed, "abc")
    with pytest.raises(StoreError, match="never mixes data"):
        Store.create(store.folder, recipe, "abd")
    assert Store.create(store.folder, recipe, "abc").read("a") is not None
    # Records before it in the order of names may say nothing of recipe or images.
    (store.folder / "store.json").unlink()
    os.replace(_file(store), _file(store, "normal-a"))
    store.write("block-a", {**RECORD, "recipe": "tiny", "distill_hash": recipe.distill_hash})
    store.write("latency-a", RECORD)
    with pytest.raises(StoreError, match="never mixes recipes"):
        Store.create(store.folder, changed, "abc")


def test_format_version_1_is_read_and_a_newer_one_is_not(store):
    head = json.loads((store.folder / "store.json").read_text())
    assert head["format_version"] == 1
    (store.folder / "store.json").write_text(json.dumps({**head, "format_version": 99}))
    with pytest.raises(StoreError, match="install a newer archrank"):
        Store(store.folder)


@pytest.mark.parametrize("content", [b"", b'{"format_version": 1, "rec', b"[1]", b"{}", b"\xff\xfe\x00", b"null"])
def test_damaged_head_is_one_line_that_says_how_to_mend_it(store, recipe, content):
    store.write("a", RECORD)
    (store.folder / "store.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"store\.json is damaged .* delete it and run the same") as caught:
        Store(store.folder)
    assert "\n" not in str(caught.value)
    (store.folder / "store.json").unlink()
    assert Store.create(store.folder, recipe, "abc").read("a") == RECORD


def test_full_disk_leaves_whole_records_only(recipe, disk):
    store = Store.create(disk / "s", recipe, "abc")
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as f:
        while True:
            f.write(bytes(4096))
    with pytest.raises(StoreError, match=r"cannot write .*: No space left on device; free some space") as caught:
        store.write("a", RECORD)
    assert str(store.folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [f.name for f in store.folder.rglob("*") if f.is_file()] == ["store.json", "store.lock"]
    with pytest.raises(StoreError, match="No space left"):
        Store.create(disk / "t", recipe, "abc")
    ballast.unlink()
    store.write("a", RECORD)
    assert store.read("a") == RECORD


def test_a_file_that_may_not_grow_leaves_nothing(store):
    """The same without root: a limit on the size of files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(StoreError, match="free some space"):
            store.write("a", RECORD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((store.folder / "records").iterdir()) == []


def test_a_read_only_store_can_be_read_and_says_why_it_cannot_be_written(recipe, disk):
    store = Store.create(disk / "s", recipe, "abc")
    store.write("a", RECORD)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    reader = Store.create(disk / "s", recipe, "abc")
    assert reader.read_all() == {"a": RECORD}
    reader.sweep()
    for action in (lambda: reader.write("b", RECORD), lambda: reader.claim("b").__enter__()):
        with pytest.raises(StoreError, match="Read-only file system; make it writable or give another --out"):
            action()
    with pytest.raises(StoreError, match="Read-only file system"):
        Store.create(disk / "t", recipe, "abc")


def test_temporary_files_of_the_dead_are_swept_and_only_those(store):
    gone = subprocess.Popen(["true"])
    gone.wait()
    mine = temporary(_file(store))
    dead = mine.with_name(mine.name.replace(f".{os.getpid()}.", f".{gone.pid}."))
    elsewhere = mine.with_name(f".part.another-machine.{gone.pid}.a.json")
    ancient = mine.with_name(f".part.another-machine.{gone.pid}.b.json")
    mine.parent.mkdir()
    for file in (mine, dead, elsewhere, ancient):
        file.write_bytes(b"half")
    os.utime(ancient, (time.time() - 90_000,) * 2)
    store.sweep()
    assert set(mine.parent.iterdir()) == {mine, elsewhere}
    write_atomically(_file(store), b"x")
    assert set(mine.parent.iterdir()) == {_file(store), elsewhere}
