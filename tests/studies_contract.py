"""What every study keeps, and small tables with known answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from archrank.ground_truth import GroundTruth, Metric, Signatures
from archrank.spaces import MacroSpace
from archrank.studies import Study

SIDE = 12
SPACE = MacroSpace.from_blocks([[f"a{i}" for i in range(SIDE)], [f"b{i}" for i in range(SIDE)]], name="two-twelve")
CODES = SPACE.all_codes()
QUALITY = CODES @ np.array([1.0, 0.6])  # additive: a signature that is the truth ranks without error
TEACHERS = ("11-11-s0", "3-3-s0", "untrained-11-11-s0")


def rows(values, variant="normal", seed=0, codes=CODES, **more):
    """Rows of a long table."""
    frame = pd.DataFrame(codes, columns=["stage_0", "stage_1"])
    return frame.assign(seed=seed, variant=variant, acc=values, **more)


def signatures(teachers=TEACHERS, seed=0):
    """`truth` is what a block is worth to the first teacher, noisy to the second, and nothing to the third."""
    rng = np.random.default_rng(seed)
    blocks = [(s, b) for s in range(2) for b in range(SIDE)]
    worth = np.array([b * (1.0, 0.6)[s] for s, b in blocks])
    parts = []
    for teacher, noise in zip(teachers, (0.0, 3.0, 1000.0), strict=False):
        part = pd.DataFrame(blocks, columns=["stage", "block"]).assign(teacher=teacher)
        part["chance"] = rng.normal(size=len(blocks))
        part["truth"] = 20 - worth + noise * rng.normal(size=len(blocks))
        parts.append(part)
    return Signatures(pd.concat(parts), {"truth": Metric("truth", "min"), "chance": Metric("chance", "max")})


def table(*parts, direction="max", **about):
    """A ground truth of the parts."""
    about = {"name": "known", "signatures": signatures()} | about
    return GroundTruth.from_frame(
        SPACE, pd.concat(parts, ignore_index=True), {"acc": Metric("acc", direction, "%")}, **about
    )


def noisy(scale, seed, base=50.0):
    return base + QUALITY + np.random.default_rng(seed).normal(scale=scale, size=len(QUALITY))


def check_study(study: Study, folder: Path) -> None:
    """Raise where a study breaks the common contract."""
    data = json.loads(json.dumps(study.to_json(), allow_nan=False))
    assert set(data) == {"study", "question", "data", "rows", "tables", "text", "environment"}
    assert data["rows"] == data["tables"][next(iter(study.tables))]
    assert data["rows"]
    assert data["environment"]["archrank"]
    assert "\n" not in study.data
    assert study.data.startswith("Run on ")
    study.save(folder)
    assert (folder / "text.md").read_text().splitlines()[0] == study.data
    assert json.loads((folder / "study.json").read_text()) == data
    for name, frame in study.tables.items():
        assert len(pd.read_csv(folder / f"{name}.csv")) == len(frame)
    assert study.figures
    for name in study.figures:
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert not [f for f in folder.iterdir() if f.name.startswith(".")]
    assert "nan" not in study.text.lower().split()
    check_figures(study)


def check_figures(study: Study) -> None:
    """Every number with decimals, and every per cent, of the text is a cell of a table, rounded."""
    cells = np.concatenate(
        [frame.select_dtypes("number").to_numpy(np.float64, na_value=np.nan).ravel() for frame in study.tables.values()]
    )
    cells = cells[np.isfinite(cells)]
    for text in re.findall(r"(?<![\w.])[-+]?\d+\.\d+(?![\w.]*\d)", study.text):
        digits = len(text.partition(".")[2])
        assert np.isclose(np.round(cells, digits), float(text), atol=1e-9).any(), f"{text} is in no table"
    for text in re.findall(r"(\d+)%", study.text):
        assert np.isclose(np.round(100 * cells), float(text)).any(), f"{text}% is in no table"
