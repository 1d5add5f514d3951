"""What users have, turned into arrays: class folders or tars of pictures, CIFAR's binary files."""

from __future__ import annotations

import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from archrank._errors import one_line

SPLITS = ("train", "test")
Part = tuple[NDArray[np.uint8], NDArray[np.int64]]
_PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp"}
# Largest file, bytes of one header, and pixels of one picture that are read; beyond the first, an archive may not
# expand more than so many fold. All are far above what pictures need, and what expands to more fills the memory.
_FILE, _HEADER, _PIXELS, _EXPANSION = 1 << 28, 1 << 20, 1 << 26, 100
# Archive layout: classes, bytes before the pixels of one record, which of them is the label, files.
_CIFAR = {
    "cifar-10": (10, 1, 0, {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}),
    "cifar-100": (100, 2, 1, {"train": ["train.bin"], "test": ["test.bin"]}),
}
# Files by which the archives for Python are known: they hold pickles, which are never loaded.
_CIFAR_PYTHON = {
    "cifar-10": {"data_batch_1", "test_batch", "batches.meta"},
    "cifar-100": {"train", "test", "meta"},
}


class DataError(ValueError):
    """Images that cannot be used; the message says what was found and what was expected."""


def decode(source: Path, image_size: int) -> tuple[Part, Part, tuple[str, ...]]:
    """Decode a folder or a tar.

    Returns
    -------
    The train part, the test part, each ``(images uint8 (n, 3, S, S), labels int64 (n,))``, and the names of
    the classes. Pictures are ordered class by class, then by name; CIFAR as in its files.

    Raises
    ------
    DataError
        If `source` holds neither layout, is damaged, or holds a picture that cannot be decoded.
    """
    files = _members(source)
    try:
        first = next(files)
    except StopIteration:
        raise DataError(_nothing_found(source)) from None
    everything = chain([first], files)
    if first[0].endswith(".bin"):
        return _decode_cifar(source, dict(everything), image_size)
    return _decode_pictures(source, everything, image_size)


class _Member(tarfile.TarInfo):
    """A member of a tar; tarfile reads headers, such as long names, whole, whatever size they say they have."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        member = super().frombuf(buf, encoding, errors)
        if not member.isreg() and member.size > _HEADER:
            raise tarfile.ReadError(f"a header of {member.size:,} bytes")
        return member


def _members(source: Path) -> Iterator[tuple[str, bytes]]:
    """(path inside the source, contents) of every picture and .bin file; nothing is written anywhere."""
    wanted = _PICTURES | {".bin"}
    try:
        if source.is_dir():
            for file in sorted(source.rglob("*")):
                if file.suffix.lower() in wanted and file.is_file():  # no device or pipe
                    yield file.relative_to(source).as_posix(), _bounded(file.open("rb"), source, file.name)
            return
        most = _FILE + _EXPANSION * source.stat().st_size
        with tarfile.open(source, tarinfo=_Member) as archive:
            for member in archive:
                if member.offset_data + member.size > most:
                    raise tarfile.ReadError(f"it expands more than {_EXPANSION} fold")
                handle = archive.extractfile(member) if member.isreg() else None
                if handle is not None and Path(member.name).suffix.lower() in wanted:
                    yield member.name, _bounded(handle, source, member.name)
    except DataError:
        raise
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, OverflowError) as error:
        kind = "folder of files" if source.is_dir() else "tar archive"
        raise DataError(
            f"{source} is not a readable {kind} ({one_line(error)}); give a folder, a tar, .tar.gz or .tar.xz"
        ) from None


def _bounded(handle: IO[bytes], source: Path, name: str) -> bytes:
    with handle:
        content = handle.read(_FILE + 1)
    if len(content) > _FILE:
        raise DataError(f"{source}: {name} is larger than {_FILE >> 20} MiB, which no picture is; remove it")
    return content


def _nothing_found(source: Path) -> str:
    if source.is_dir():
        names = {file.name for file in source.rglob("*")}
    else:
        with tarfile.open(source) as archive:
            names = {Path(name).name for name in archive.getnames()}
    for kind, files in _CIFAR_PYTHON.items():
        if files <= names:
            return (
                f"{source} is the Python version of {kind}, which holds pickles; get {kind}-binary.tar.gz instead, "
                f"or give --data {kind.replace('-', '')} to download it"
            )
    return f"{source} holds no pictures; expected train/CLASS/*.jpg and test/CLASS/*.jpg, or CIFAR .bin files"


def _decode_pictures(source: Path, files: Iterator[tuple[str, bytes]], size: int) -> tuple[Part, Part, tuple[str, ...]]:
    from PIL import Image

    records: dict[str, list[tuple[str, str, NDArray[np.uint8]]]] = {split: [] for split in SPLITS}
    for name, content in files:
        parts = Path(name).parts
        split = next((s for s in SPLITS if s in parts[:-2]), None)
        if split is None:
            continue
        try:
            with Image.open(io.BytesIO(content)) as picture:
                if picture.width * picture.height > _PIXELS:
                    raise ValueError(f"{picture.width} x {picture.height} pixels, expected at most {_PIXELS:,}")
                rgb = picture.convert("RGB")
                if rgb.size != (size, size):
                    rgb = rgb.resize((size, size), Image.Resampling.BICUBIC)
                records[split].append((parts[-2], name, np.asarray(rgb, dtype=np.uint8).transpose(2, 0, 1)))
        except Exception as error:  # decoders of damaged pictures raise what they like
            raise DataError(
                f"{source}: cannot decode {name} ({one_line(error)}); remove or replace this file"
            ) from None
    if not all(records.values()):
        raise DataError(
            f"{source} has {len(records['train'])} train and {len(records['test'])} test pictures; "
            "expected pictures under train/CLASS/ and test/CLASS/"
        )
    classes = tuple(sorted({r[0] for r in records["train"]}))
    unknown = {r[0] for r in records["test"]} - set(classes)
    if unknown:
        raise DataError(f"{source}: test classes {sorted(unknown)} have no train folder")

    def part(split: str) -> Part:
        rows = sorted(records[split], key=lambda r: (r[0], r[1]))
        return np.stack([r[2] for r in rows]), np.array([classes.index(r[0]) for r in rows], dtype=np.int64)

    return part("train"), part("test"), classes


def _decode_cifar(source: Path, files: dict[str, bytes], size: int) -> tuple[Part, Part, tuple[str, ...]]:
    by_name = {Path(name).name: content for name, content in files.items()}
    kind = next(
        (k for k, (*_, parts) in _CIFAR.items() if all(f in by_name for fs in parts.values() for f in fs)), None
    )
    if kind is None:
        raise DataError(
            f"{source} holds {sorted(by_name)}; expected the files of cifar-10-binary.tar.gz "
            "(data_batch_1..5.bin, test_batch.bin) or of cifar-100-binary.tar.gz (train.bin, test.bin)"
        )
    if size != 32:
        raise DataError(
            f"CIFAR images are 32 pixels, asked for {size}; let the recipe pool them (pool = {32 // max(size, 1)})"
        )
    n_classes, head, label_at, parts = _CIFAR[kind]

    def part(split: str) -> Part:
        raw = b"".join(by_name[f] for f in parts[split])
        if not raw or len(raw) % (head + 3072):
            raise DataError(
                f"{source}: {split} part of {kind} has {len(raw)} bytes, not a multiple of {head + 3072}; "
                "it is truncated, download it again"
            )
        records = np.frombuffer(raw, dtype=np.uint8).reshape(-1, head + 3072)
        labels = records[:, label_at].astype(np.int64)
        if labels.max() >= n_classes:
            raise DataError(
                f"{source}: {split} part of {kind} has label {labels.max()}, expected 0 to {n_classes - 1}; "
                "it is damaged, download it again"
            )
        return records[:, head:].reshape(-1, 3, 32, 32), labels

    return part("train"), part("test"), tuple(str(c) for c in range(n_classes))
