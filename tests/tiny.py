"""A training and predictors small enough for tests, jobs that fail in known ways, campaigns in their own processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.pipeline import Pipeline

from archrank.predictors import make_predictor
from archrank.train_ground_truth.launch import Setup
from archrank.train_ground_truth.store import Store, record_key

TINY = {
    "name": "tiny",
    "space": {"stages": 2, "width": 4, "image_size": 8, "classes": 3},
    "data": {"train": 48, "val": 12, "pool": 1},
    "training": {"epochs": 2, "batch_size": 16, "weights": "last"},
    "distill": {"epochs": 2, "batch_size": 16},
}

# Small and short where training takes time; the contract does not depend on it.
QUICK = {
    "auto": {"folds": 2},
    "gcn": {"width": 32, "steps": 40},
    "gbdt": {"n_estimators": 40},
}


def quick(name: str, benchmark: Any, **options: Any) -> Pipeline:
    """`make_predictor` of one that learns quickly, with members that do."""
    params = {"random_state": 0} | QUICK.get(name.partition(":")[0], {}) | options
    model = make_predictor(name, benchmark, **params)
    for label, member in getattr(model["regressor"], "members", ()):
        member["regressor"].set_params(**QUICK.get(label, {}))
    return model


def make_pictures(root: Path) -> Path:
    """60 train and 30 test pictures in three classes that differ in colour."""
    rng = np.random.default_rng(0)
    for split, n in (("train", 20), ("test", 10)):
        for c, name in enumerate(("ant", "bee", "cat")):
            (root / split / name).mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 120, (8, 8, 3), dtype=np.uint8)
                pixels[..., c] += 100
                Image.fromarray(pixels).save(root / split / name / f"{i:04d}.png")
    return root


def values(record):
    """What must be equal between two makings of one record."""
    return {k: v for k, v in record.items() if k not in ("host", "weights")}


def table_bytes(store: Path) -> bytes:
    """All records but for their host fields, in an order of their own."""
    return json.dumps({k: values(r) for k, r in Store(store).read_all().items()}, sort_keys=True).encode()


@dataclass(frozen=True)
class Train:
    """Train one network, as `TrainJob` does, after `pause` seconds."""

    code: tuple[int, ...]
    seed: int = 0
    pause: float = 0.0

    @property
    def key(self):
        return record_key(self.code, self.seed)

    def run(self, setup: Setup, data, store):
        from archrank.train_ground_truth.train import train_one

        time.sleep(self.pause)
        store.write(self.key, train_one(self.code, setup.recipe, self.seed, setup.device, data=data))


@dataclass(frozen=True)
class Weigh:
    """Reads weights of another store."""

    need: tuple[str, str]
    key = "weigh"

    @property
    def needs(self):
        return (self.need,)

    def run(self, setup: Setup, data, store):
        folder, key = self.need
        store.write(self.key, {"metrics": {"sum": store.weights(key, folder)["w"].sum().item()}, "host": {}})


@dataclass(frozen=True)
class Note:
    """No training: writes a record, after `pause` seconds; fails first in the way and as often as it says.

    `how`: ``error``, ``memory``, ``kill`` (itself), ``hang``. Attempts, and what was done, are lines of
    the file `log`.
    """

    name: str
    log: str
    pause: float = 0.0
    fails: int = 0
    how: str = ""

    @property
    def key(self):
        return f"note-{self.name}"

    def run(self, setup: Setup, data, store):
        done_before = sum(line.startswith(f"{self.name} try") for line in lines(self.log))
        say(self.log, f"{self.name} try {os.getpid()}")
        time.sleep(self.pause)
        if done_before < self.fails:
            if self.how == "hang":
                time.sleep(3600)
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise {"memory": MemoryError, "error": RuntimeError}[self.how](f"{self.name} failed on purpose")
        store.write(self.key, {"name": self.name, "metrics": {"x": 1.0}, "host": {"pid": os.getpid()}})
        say(self.log, f"{self.name} done {os.getpid()}")


@dataclass(frozen=True)
class FullAtFirst(Setup):
    """The device has no room for the images as often as it says; starts are lines of a file."""

    starts: str = ""
    fails: int = 0

    def place(self, images):
        say(self.starts, "start")
        if len(lines(self.starts)) <= self.fails:
            raise RuntimeError("CUDA error: out of memory")
        return super().place(images)


def say(log: str | Path, line: str) -> None:
    with open(log, "a") as f:  # one short line: appended whole, whoever else writes
        f.write(f"{line}\n")


def lines(log: str | Path) -> list[str]:
    return Path(log).read_text().splitlines() if Path(log).exists() else []


def until(condition, seconds: float = 120.0) -> None:
    """Wait for a condition of another process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def python(code: str, *arguments: str | Path, **options) -> subprocess.Popen:
    """A process of its own group that runs `code` with this folder's modules at hand."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, start_new_session=True, text=True, **options)


def group(leader: int) -> dict[int, str]:
    """Living processes of a group with their command lines; the dead that nobody waited for do not count."""
    listing = subprocess.run(
        ["ps", "-o", "pid=,stat=,args=", "--no-headers", "-g", str(leader)], capture_output=True, text=True
    )
    rows = (line.split(None, 2) for line in listing.stdout.splitlines())
    return {int(pid): args for pid, state, args in rows if not state.startswith("Z")}
