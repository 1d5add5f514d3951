"""Images: read once from what users have, kept as one checksummed array file, held on the device.

Sources: a folder or a (compressed) tar of ``train/CLASS/*`` and ``test/CLASS/*`` pictures, or the
binary archives of CIFAR-10 and CIFAR-100, packed or unpacked.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SPLITS = ("train", "test")
_PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp"}
# Archive layout: bytes before the pixels of one record, and which of them is the label.
_CIFAR = {
    "cifar-10": (1, 0, {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}),
    "cifar-100": (2, 1, {"train": ["train.bin"], "test": ["test.bin"]}),
}


class DataError(ValueError):
    """Images that cannot be used; the message says what was found and what was expected."""


@dataclass(frozen=True)
class Images:
    """Decoded images and labels of one source.

    ``train`` and ``test`` hold ``(images uint8 (n, 3, S, S), labels int64 (n,))``; the train part is
    ordered class by class. ``sha256`` covers pixels and labels.
    """

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    classes: tuple[str, ...]
    sha256: str


def cache_folder() -> Path:
    """Where decoded images are kept: ``$ARCHRANK_CACHE``, by default ``~/.cache/archrank``."""
    return Path(os.environ.get("ARCHRANK_CACHE", Path.home() / ".cache" / "archrank"))


def load_images(path: str | Path, image_size: int = 32, cache: Path | None = None) -> Images:
    """Read images from `path`, decoding them only the first time.

    Parameters
    ----------
    path
        Folder or tar of class folders, or a CIFAR binary archive or its unpacked folder.
    image_size
        Pixels of the decoded square images; pictures of another size are resized (bicubic).
    cache
        Folder of the array files, by default `cache_folder()`.

    Raises
    ------
    DataError
        If `path` holds neither layout, or a picture cannot be decoded.
    FileNotFoundError
        If `path` does not exist.
    """
    source = Path(path)
    if not source.exists():
        raise FileNotFoundError(f"no images at {source}; give a folder or tar of class folders, or a CIFAR archive")
    folder = cache or cache_folder()
    file = folder / f"images-{_fingerprint(source)}-{image_size}.safetensors"
    if file.exists():
        found = _read_array_file(file)
        if found is not None:
            return found
    images = _decode(source, image_size)
    _write_array_file(file, images)
    return images


def _fingerprint(source: Path) -> str:
    """Changes when the source changes: contents of an archive; names, sizes and times of a folder."""
    digest = hashlib.sha256()
    if source.is_file():
        with source.open("rb") as f:
            for chunk in iter(lambda: f.read(1 << 20), b""):
                digest.update(chunk)
    else:
        for file in sorted(p for p in source.rglob("*") if p.is_file()):
            stat = file.stat()
            digest.update(f"{file.relative_to(source)}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _decode(source: Path, image_size: int) -> Images:
    files = _members(source)
    try:
        first = next(files)
    except StopIteration:
        raise DataError(
            f"{source} holds no pictures; expected train/CLASS/*.jpg and test/CLASS/*.jpg, or CIFAR .bin files"
        ) from None
    everything = chain([first], files)
    if first[0].endswith(".bin"):
        return _decode_cifar(source, dict(everything), image_size)
    return _decode_pictures(source, everything, image_size)


def _members(source: Path) -> Iterator[tuple[str, bytes]]:
    """(path inside the source, contents) of every picture and .bin file."""
    wanted = _PICTURES | {".bin"}
    if source.is_dir():
        for file in sorted(source.rglob("*")):
            if file.suffix.lower() in wanted:
                yield file.relative_to(source).as_posix(), file.read_bytes()
        return
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                handle = archive.extractfile(member) if member.isfile() else None
                if handle is not None and Path(member.name).suffix.lower() in wanted:
                    yield member.name, handle.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(
            f"{source} is not a readable tar archive ({error}); give a folder, a tar, .tar.gz or .tar.xz"
        ) from None


def _decode_pictures(source: Path, files: Iterator[tuple[str, bytes]], size: int) -> Images:
    from PIL import Image, UnidentifiedImageError

    records: dict[str, list[tuple[str, str, NDArray[np.uint8]]]] = {split: [] for split in SPLITS}
    for name, content in files:
        parts = Path(name).parts
        split = next((s for s in SPLITS if s in parts[:-2]), None)
        if split is None:
            continue
        try:
            with Image.open(io.BytesIO(content)) as picture:
                rgb = picture.convert("RGB")
                if rgb.size != (size, size):
                    rgb = rgb.resize((size, size), Image.Resampling.BICUBIC)
                records[split].append((parts[-2], name, np.asarray(rgb, dtype=np.uint8).transpose(2, 0, 1)))
        except (UnidentifiedImageError, OSError) as error:
            raise DataError(f"{source}: cannot decode {name} ({error}); remove or replace this file") from None
    if not all(records.values()):
        raise DataError(
            f"{source} has {len(records['train'])} train and {len(records['test'])} test pictures; "
            "expected pictures under train/CLASS/ and test/CLASS/"
        )
    classes = tuple(sorted({r[0] for r in records["train"]}))
    unknown = {r[0] for r in records["test"]} - set(classes)
    if unknown:
        raise DataError(f"{source}: test classes {sorted(unknown)} have no train folder")
    parts_out = []
    for split in SPLITS:
        rows = sorted(records[split], key=lambda r: (r[0], r[1]))
        labels = np.array([classes.index(r[0]) for r in rows])
        parts_out.append((np.stack([r[2] for r in rows]), labels))
    return _finish(parts_out[0], parts_out[1], classes)


def _decode_cifar(source: Path, files: dict[str, bytes], size: int) -> Images:
    by_name = {Path(name).name: content for name, content in files.items()}
    kind = next(
        (k for k, (_, _, parts) in _CIFAR.items() if all(f in by_name for fs in parts.values() for f in fs)), None
    )
    if kind is None:
        raise DataError(
            f"{source} holds {sorted(by_name)}; expected the files of cifar-10-binary.tar.gz "
            "(data_batch_1..5.bin, test_batch.bin) or of cifar-100-binary.tar.gz (train.bin, test.bin)"
        )
    head, label_at, parts = _CIFAR[kind]
    out = []
    for split in SPLITS:
        raw = b"".join(by_name[f] for f in parts[split])
        if not raw or len(raw) % (head + 3072):
            raise DataError(
                f"{source}: {split} part of {kind} has {len(raw)} bytes, not a multiple of {head + 3072}; "
                "it is truncated, download it again"
            )
        records = np.frombuffer(raw, dtype=np.uint8).reshape(-1, head + 3072)
        out.append((records[:, head:].reshape(-1, 3, 32, 32), records[:, label_at].astype(np.int64)))
    if size != 32:
        raise DataError(
            f"CIFAR images are 32 pixels, asked for {size}; let the recipe pool them (pool = {32 // max(size, 1)})"
        )
    n = 10 if kind == "cifar-10" else 100
    return _finish(out[0], out[1], tuple(str(c) for c in range(n)))


def _finish(
    train: tuple[NDArray[np.uint8], NDArray[np.int64]],
    test: tuple[NDArray[np.uint8], NDArray[np.int64]],
    classes: tuple[str, ...],
) -> Images:
    def tensors(part: tuple[NDArray[np.uint8], NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(np.ascontiguousarray(part[0])), torch.from_numpy(part[1].astype(np.int64))

    first, second = tensors(train), tensors(test)
    return Images(first, second, classes, _sha256(first, second))


def _sha256(*parts: tuple[Tensor, Tensor]) -> str:
    digest = hashlib.sha256()
    for pixels, labels in parts:
        digest.update(pixels.numpy().data)
        digest.update(labels.numpy().data)
    return digest.hexdigest()


def _write_array_file(file: Path, images: Images) -> None:
    from safetensors.torch import save_file

    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{os.getpid()}")
    tensors = {
        f"{s}_{k}": t
        for s, pair in zip(SPLITS, (images.train, images.test), strict=True)
        for k, t in zip(("images", "labels"), pair, strict=True)
    }
    try:
        save_file(tensors, part, metadata={"sha256": images.sha256, "classes": "\n".join(images.classes)})
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def _read_array_file(file: Path) -> Images | None:
    """The cached arrays, or None if the file is damaged (it is then made anew)."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as f:
            meta = f.metadata() or {}
            pairs = [(f.get_tensor(f"{s}_images"), f.get_tensor(f"{s}_labels")) for s in SPLITS]
    except (SafetensorError, OSError):
        return None
    if _sha256(*pairs) != meta.get("sha256"):
        return None
    return Images(pairs[0], pairs[1], tuple(meta["classes"].split("\n")), meta["sha256"])
