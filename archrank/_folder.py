"""The folder format of tables: ``meta.json``, ``table.parquet`` and ``signatures.parquet``.

``meta.json`` holds the format version, the space, the metrics, licence, source, provenance and the
SHA-256 of the parquet files. The table is long: ``stage_0`` ..., ``seed``, ``variant``, metrics, curves.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from archrank._curves import arrow_types
from archrank._errors import TableError, one_line
from archrank._parquet import read_parquet
from archrank._records import Metric, Signatures
from archrank._swap import new_folder
from archrank.spaces import space_from_dict

if TYPE_CHECKING:
    import pandas as pd

FORMAT_VERSION = 1
_META, _TABLE, _SIGNATURES = "meta.json", "table.parquet", "signatures.parquet"


def write_folder(
    folder: Path,
    meta: Mapping[str, Any],
    frame: pd.DataFrame,
    metrics: Mapping[str, Metric],
    signatures: Signatures | None,
) -> Path:
    """Write a table beside its place and swap it in; returns the absolute path."""
    target = folder.absolute()
    if target.exists() and not target.is_dir():
        raise TableError(f"{target} is a file; give a folder")
    old = sorted(target.iterdir()) if target.exists() else []
    if old and not (target / _META).exists():
        raise TableError(f"{target} is not empty and holds no table; choose another folder")
    with new_folder(target) as new:
        _write(new, meta, frame, metrics, signatures)
        for extra in old:
            if extra.is_file() and extra.name not in (_META, _TABLE, _SIGNATURES):
                shutil.copy2(extra, new / extra.name)
    return target


def _write(
    folder: Path,
    meta: Mapping[str, Any],
    frame: pd.DataFrame,
    metrics: Mapping[str, Metric],
    signatures: Signatures | None,
) -> None:
    frame.to_parquet(folder / _TABLE, index=False, compression="zstd")
    files = [_TABLE]
    if signatures is not None:
        signatures.frame.to_parquet(folder / _SIGNATURES, index=False, compression="zstd")
        files.append(_SIGNATURES)
    full = {
        "format_version": FORMAT_VERSION,
        **meta,
        "metrics": [asdict(m) for m in metrics.values()],
        "signature_metrics": [asdict(m) for m in signatures.metrics.values()] if signatures else [],
        "sha256": {f: _sha256(folder / f) for f in files},
    }
    (folder / _META).write_text(json.dumps(full, indent=1) + "\n", encoding="utf-8")


def read_folder(folder: Path, verify: bool) -> dict[str, Any]:
    """The arguments from which `GroundTruth` is built."""
    meta = _read_meta(folder)
    if verify:
        _verify(folder, meta["sha256"])
    try:
        about = {k: meta[k] for k in ("name", "default_metric", "licence", "source", "provenance")}
        metrics, signature_metrics = (
            {m["name"]: Metric(**m) for m in meta[k]} for k in ("metrics", "signature_metrics")
        )
        space = space_from_dict(meta["space"])
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise TableError(f"{folder / _META} is damaged: {type(error).__name__} {one_line(error)}") from error
    signatures = None
    if signature_metrics:
        signatures = Signatures(_read_parquet(folder / _SIGNATURES), signature_metrics, space.n_blocks)
    frame = _read_parquet(folder / _TABLE)
    return {"space": space, "frame": frame, "metrics": metrics, "signatures": signatures, **about}


def verify_files(folder: Path) -> dict[str, str]:
    """SHA-256 by file name, as ``meta.json`` has them and the files agree.

    Raises
    ------
    TableError
        For a file that is missing, differs, or that ``meta.json`` does not list.
    """
    checksums: dict[str, str] = _read_meta(folder)["sha256"]
    unlisted = sorted({_TABLE, *(f.name for f in folder.glob("*.parquet"))} - set(checksums))
    if unlisted:
        raise TableError(f"{folder / unlisted[0]} has no checksum in {_META}; fetch the table again")
    _verify(folder, checksums)
    return checksums


def _verify(folder: Path, checksums: Mapping[str, str]) -> None:
    for file, digest in checksums.items():
        path = folder / file
        if Path(file).name != file or not path.is_file():
            raise TableError(f"{path} is missing; restore it or fetch the table again")
        if _sha256(path) != digest:
            raise TableError(f"{path} is damaged: its checksum is not the one in {_META}; fetch the table again")


def _read_meta(folder: Path) -> dict[str, Any]:
    path = folder / _META
    if not path.exists():
        raise TableError(f"{folder} holds no {_META}; give the folder of a saved table")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        version, checksums = int(meta["format_version"]), dict(meta["sha256"])
    except (OSError, LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise TableError(f"{path} is damaged: {one_line(error)}; fetch the table again") from error
    if version > FORMAT_VERSION:
        raise TableError(
            f"{path} has format version {version}, this archrank reads up to {FORMAT_VERSION}; update archrank"
        )
    return {**meta, "sha256": checksums}


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        # pandas' own reader fails on the names of fixed-size list types, which are the curves of long tables.
        return cast("pd.DataFrame", read_parquet(path).to_pandas(types_mapper=arrow_types))
    except ValueError as error:
        raise TableError(f"{path} is damaged or truncated: {one_line(error)}; fetch the table again") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
