"""Fixtures that several test files share."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import TINY, make_pictures

from archrank.cli import main
from archrank.ground_truth import GroundTruth, Metric, Signatures
from archrank.spaces import MacroSpace

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _shared(*parts: str) -> Path:
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"published data not there: {'/'.join(parts)} in a folder `shared` beside the repository")
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of published data beside the repository."""
    return _shared("data")


@pytest.fixture(scope="session")
def nas_bench_macro_file() -> Path:
    return _shared("data", "nas-bench-macro", "nas-bench-macro_cifar10.json")


@pytest.fixture(scope="session")
def bossnas_folder() -> Path:
    return _shared("data", "bossnas-nats")


@pytest.fixture(scope="session")
def protocol_file() -> Path:
    return _shared("protocol", "peer_protocol.py")


@pytest.fixture(scope="session")
def toy() -> GroundTruth:
    """90 networks of three stages, two seeds with noise, a loss, a curve, a second variant, signatures."""
    space = MacroSpace.from_blocks([list("abcde"), list("uvwxyz"), list("klm")], name="toy-space")
    rng = np.random.default_rng(0)
    codes = space.all_codes()
    quality = codes @ np.array([2.0, 1.0, 0.7])
    parts = []
    for seed, variant in ((0, "normal"), (1, "normal"), (0, "distilled")):
        part = pd.DataFrame(codes, columns=["stage_0", "stage_1", "stage_2"]).assign(seed=seed, variant=variant)
        part["acc"] = 60 + quality + rng.normal(scale=0.8, size=len(codes))
        part["loss"] = 3 - 0.1 * quality
        part["val_acc"] = [[a - 2, a - 1, a] for a in part["acc"]]
        parts.append(part if variant == "normal" else part.head(10))
    rows = [(s, b, f"t{t}", -float(b + t)) for t in range(2) for s, n in enumerate(space.n_blocks) for b in range(n)]
    signatures = Signatures(
        pd.DataFrame(rows, columns=["stage", "block", "teacher", "nsr"]), {"nsr": Metric("nsr", "min")}
    )
    return GroundTruth.from_frame(
        space,
        pd.concat(parts, ignore_index=True),
        {"acc": Metric("acc", "max", "%", (0.0, 100.0)), "loss": Metric("loss", "min")},
        name="toy",
        signatures=signatures,
        provenance={"made by": "a formula"},
        licence="CC0",
        source="tests",
    )


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 60 train and 30 test pictures in three classes that differ in colour."""
    return make_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded images of the tests stay out of the user's cache."""
    monkeypatch.setenv("ARCHRANK_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def recipe():
    """A training of a fraction of a second."""
    from archrank.train_ground_truth.recipe import recipe_from_dict

    return recipe_from_dict(TINY)


@pytest.fixture
def data(pictures, recipe):
    """The pictures on the CPU, as the tiny recipe wants them."""
    from archrank.train_ground_truth import load_images, prepare_data

    return prepare_data(load_images(pictures, 8), recipe, "cpu")


@pytest.fixture
def setup(recipe, pictures):
    """What the jobs of a campaign of the tiny recipe share."""
    from archrank.train_ground_truth.launch import Setup

    return Setup(recipe, str(pictures), "cpu")


@pytest.fixture
def store(recipe, pictures, tmp_path):
    """An empty store of that campaign."""
    from archrank.train_ground_truth import load_images
    from archrank.train_ground_truth.store import Store

    return Store.create(tmp_path / "s", recipe, load_images(pictures, 8).sha256)


@pytest.fixture
def log(tmp_path):
    """Name of a file in which jobs note what they did."""
    return str(tmp_path / "log")


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process: (exit code, stdout, stderr)."""

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["archrank", *map(str, args)])
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capsys.readouterr()
        return exit_.value.code, out, err

    return call
