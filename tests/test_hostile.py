"""Files made to do harm: nothing that they hold runs, memory stays bounded, and one short line says what is wrong."""

from __future__ import annotations

import builtins
import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
import warnings
import zlib
from itertools import pairwise
from pathlib import Path

import corpus
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blox_release import release

import archrank
from archrank.benchmarks.formats import blox_writer


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that load for the first time
        corpus.make(folder)
    return folder


def refused(read, *arguments):
    """The one short line by which archrank refuses."""
    with pytest.raises(corpus.OWN) as caught:
        read(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 1200
    return text


# -- nothing runs -------------------------------------------------------------------------------------


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function, argument):
        self.call = (function, (argument,))

    def __reduce__(self):
        return self.call


def harm(kind, mark):
    """An object that would make the file `mark` when it is unpickled."""
    system = Call(os.system, f"touch '{mark}'")
    if kind == "os.system":
        return system
    if kind == "builtins.eval":
        return Call(builtins.eval, f"open({str(mark)!r}, 'w').close()")
    return np.array([system, 1.0], dtype=object)  # by way of numpy's own _reconstruct


KINDS = ("os.system", "builtins.eval", "an array of objects")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("part", ["base-0", "info", "bench-cpu"])
def test_pickles_of_code_do_not_run(root, tmp_path, kind, protocol, part):
    mark, file = tmp_path / "ran", tmp_path / f"blox-{part}.pickle"
    header, _, payload = (root / "blox" / file.name).read_bytes().partition(b"\n---\n")
    rows = pickle.loads(payload)
    evil = harm(kind, mark)
    for content in (evil, [evil, *rows], [[*rows[0][:-1], evil], *rows[1:]]):
        file.write_bytes(header + b"\n---\n" + pickle.dumps(content, protocol))
        text = refused(archrank.load_benchmark, f"blox:{file}")
        assert text.startswith(str(file))
        assert "only lists, tuples, text and numbers are admitted" in text or "pickle is damaged" in text
    assert not mark.exists()
    pickle.loads(pickle.dumps(evil, protocol))
    assert mark.exists(), "it would have run elsewhere"


# -- memory stays bounded -----------------------------------------------------------------------------


def bomb(header: bytes, rows: int, size: int) -> bytes:
    """A `.blox` file that claims `size` bytes in `rows` rows, and unpacks to 4 GB."""
    packer = zlib.compressobj()
    claim = (8 * (4 + size)).to_bytes(8, "little") + rows.to_bytes(4, "little")
    start = packer.compress(claim) + packer.flush(zlib.Z_FULL_FLUSH)
    megabyte = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)  # the same wherever it stands
    return header + start + megabyte * 4096


def laughs(header: bytes, old: bytes, new: bytes) -> bytes:
    """The header, with a node ``*h`` of a hundred million words; `old` becomes `new`."""
    lines = [b"a: &a [%s]" % b",".join([b"x"] * 10)]
    lines += [b"%c: &%c [%s]" % (c, c, b",".join([b"*%c" % p] * 10)) for p, c in pairwise(b"abcdefgh")]
    out = header.replace(b"---\n", b"---\n" + b"\n".join(lines) + b"\n", 1).replace(old, new)
    assert len(out) < 1024
    return out


def parquet_bomb(path: Path) -> None:
    """320 MB of zeros in some kilobytes."""
    with pq.ParquetWriter(path, pa.schema({"stage_0": pa.int64(), "acc": pa.int64()})) as writer:
        part = pa.table({name: np.zeros(1_000_000, dtype=np.int64) for name in ("stage_0", "acc")})
        for _ in range(20):
            writer.write_table(part)


def hostile_files(folder: Path, valid: Path) -> dict[str, str]:
    """Files of some megabytes, or of gigabytes that take no space on disk, and what is said of each."""
    bench, csv = (
        (valid / f"blox-{n}").read_bytes().partition(b"\n---\n")[0] + b"\n---\n"
        for n in ("bench-cpu.blox", "base-0.csv")
    )
    shape = bench[bench.index(b"  shape:") : bench.index(b"  nodes:")]
    contents = {
        "few.blox": (bomb(bench, 8, 8 * 19), "8 rows cannot take the 152 bytes|not of the 152 bytes that it claims"),
        "many.blox": (bomb(bench, 100_000, 1_900_000), "not of the 1,900,000 bytes that it claims"),
        "lying.blox": (bomb(bench, 2**32 - 1, 19 * (2**32 - 1)), "claims 4,294,967,295 rows, which its"),
        "device.blox": (laughs(bench, b"device: cpu", b"device: *h"), "header's 'device' is missing or no text"),
        "shape.blox": (laughs(bench, shape, b"  shape: *h\n"), "'search_space' is not BLOX with 1 to 3 stages"),
        "columns.blox": (laughs(bench, b"- latency", b"- *h"), "header's 'columns' is no list of names"),
        "header.csv": (b"---\nnote: " + b"x" * 4_000_000 + b"\n---\n", "within the first 1,024 bytes"),
        "field.csv": (csv + b"A" * 9_000_000, "not the rows that its header describes"),
        "list.csv": (csv + b"0" * 32 + b',"[' + b"1, " * 3_000_000 + b'1]",1,1,1\r\n', "not the rows that its header"),
        "own-cell.csv": (b"stage_0,acc\na,1\nb," + b"A" * 8_000_000, "column 'acc': holds 'AAA.* not a number"),
        "own-name.csv": (b"stage_" + b"A" * 8_000_000 + b",acc\na,1\nb,2\n", "no stage columns among stage_AAA"),
        "own-quote.csv": (b'stage_0,acc\na,"' + b"A" * 8_000_000, "EOF inside string"),
        "own-commas.csv": (b"stage_0,acc\na,1\nb" + b"," * 8_000_000, "Expected 2 fields in line 3, saw 8000001"),
        "lists.json": (b"[" * 8_000_000, "not a JSON file.*recursion"),
        "objects.json": (b'{"a":' * 1_000_000, "not a JSON file.*recursion"),
    }
    for name, (data, _) in contents.items():
        (folder / name).write_bytes(data)
    for name, start in (("endless-header.blox", b"---\n"), ("endless.blox", bench)):
        (folder / name).write_bytes(start)
        os.truncate(folder / name, 8 << 30)
    parquet_bomb(folder / "own.parquet")
    return {name: text for name, (_, text) in contents.items()} | {
        "endless-header.blox": "no YAML header",
        "endless.blox": "would take .* GB in memory, more than",
        "own.parquet": "it unpacks to more than a hundred times its size",
    }


_CHILD = """
import json, resource, sys
import archrank
from archrank.ground_truth import TableError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

folder, valid, *names = sys.argv[1:]
archrank.load_benchmark(f"blox:{valid}"), archrank.load_benchmark(f"{valid}/sound.csv")  # loads the libraries
before, said = peak(), {}
for name in names:
    prefix = "" if name.startswith("own") else "nas-bench-macro:" if name.endswith(".json") else "blox:"
    try:
        archrank.load_benchmark(f"{prefix}{folder}/{name}")
        said[name] = "read", 0
    except TableError as error:
        said[name] = str(error), peak() - before
print(json.dumps(said))
"""


def test_hostile_files_take_little_memory(tmp_path):
    valid = tmp_path / "valid"
    for coding in blox_writer.FORMATS:
        blox_writer.write(release(), valid, coding)
    (valid / "sound.csv").write_text("stage_0,acc\na,1\nb,2\n")
    expected = hostile_files(tmp_path, valid)  # the parquet bomb, which may take most, comes last
    arguments = [sys.executable, "-c", _CHILD, str(tmp_path), str(valid), *expected]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said.keys() == expected.keys()
    for name, (text, megabytes) in said.items():
        assert re.search(expected[name], text), (name, text)
        assert megabytes < (400 if name == "own.parquet" else 120), name
        assert len(text) < 1200, name
        assert "\n" not in text, name


# -- the wrong schema ---------------------------------------------------------------------------------

TABLE = {
    "text for a seed": lambda f: f.assign(seed="x"),
    "lists for a seed": lambda f: f.assign(seed=[[1]] * len(f)),
    "a seed beyond int64": lambda f: f.assign(seed=1e30),
    "text for a block": lambda f: f.assign(stage_0="x"),
    "a missing block": lambda f: f.assign(stage_0=np.nan),
    "a block beyond the space": lambda f: f.assign(stage_0=10**12),
    "lists for a block": lambda f: f.assign(stage_0=[[1]] * len(f)),
    "text for a metric": lambda f: f.assign(acc="x"),
    "lists for a metric": lambda f: f.assign(acc=[[1.0]] * len(f)),
    "times for a metric": lambda f: f.assign(acc=pd.Timestamp(0)),
    "text in curves": lambda f: f.assign(curve=[["a"]] * len(f)),
    "curves of curves": lambda f: f.assign(curve=[[[1.0]]] * len(f)),
    "no stage": lambda f: f.drop(columns="stage_1"),
    "no metric": lambda f: f.drop(columns="acc"),
    "no rows": lambda f: f.head(0),
}
SIGNATURES = {
    "a stage beyond the space": lambda f: f.assign(stage=10**12),
    "a negative stage": lambda f: f.assign(stage=-1),
    "a block beyond the space": lambda f: f.assign(block=10**12),
    "text for a stage": lambda f: f.assign(stage="a"),
    "a missing stage": lambda f: f.assign(stage=np.nan),
    "text for a value": lambda f: f.assign(nsr="a"),
    "one teacher for all": lambda f: pd.concat([f, f.assign(nsr=1.0)]),
    "no values": lambda f: f.drop(columns="nsr"),
}
SCHEMAS = [("table", k) for k in TABLE] + [("signatures", k) for k in SIGNATURES]


@pytest.mark.parametrize(("file", "what"), SCHEMAS)
def test_parquet_of_another_schema(tmp_path, file, what):
    """Whoever writes the file writes its checksum too, so that only the reader is left to notice."""
    folder = corpus.nine().save(tmp_path / "table")
    path, meta = folder / f"{file}.parquet", folder / "meta.json"
    change = (TABLE if file == "table" else SIGNATURES)[what]
    change(pd.read_parquet(path)).to_parquet(path, index=False)
    about = json.loads(meta.read_text())
    about["sha256"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    meta.write_text(json.dumps(about))
    refused(lambda: corpus.use(archrank.load_benchmark(folder)))
