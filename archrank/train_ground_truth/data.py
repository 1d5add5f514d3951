"""Images: read once from what users have, kept as one checksummed array file, held on the device.

Sources: a folder or a (compressed) tar of ``train/CLASS/*`` and ``test/CLASS/*`` pictures, or the
binary archives of CIFAR-10 and CIFAR-100, packed, unpacked or downloaded by name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from archrank._download import cache_folder
from archrank._swap import new_file
from archrank.train_ground_truth.decode import SPLITS, DataError, Part, decode
from archrank.train_ground_truth.download import ARCHIVES, download

__all__ = ["DataError", "Images", "cache_folder", "load_images"]


@dataclass(frozen=True)
class Images:
    """Decoded images and labels of one source.

    ``train`` and ``test`` hold ``(images uint8 (n, 3, S, S), labels int64 (n,))`` in the order of
    `archrank.train_ground_truth.decode.decode`. ``sha256`` covers pixels and labels.
    """

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    classes: tuple[str, ...]
    sha256: str


def load_images(path: str | Path, image_size: int = 32, cache: Path | None = None) -> Images:
    """Read images from `path`, decoding them only the first time.

    Parameters
    ----------
    path
        Folder or tar of class folders, a CIFAR binary archive or its unpacked folder, or ``cifar10`` or
        ``cifar100``, which are downloaded the first time.
    image_size
        Pixels of the decoded square images; pictures of another size are resized (bicubic).
    cache
        Folder of the array files and downloads, by default `cache_folder()`.

    Raises
    ------
    DataError
        If `path` holds neither layout, a picture cannot be decoded, or a download fails.
    FileNotFoundError
        If `path` does not exist.
    """
    source, folder = Path(path), cache or cache_folder()
    if not source.exists() and str(path) in ARCHIVES:
        source = download(str(path), folder)
    if not source.exists():
        raise FileNotFoundError(
            f"no images at {source}; give a folder or tar of class folders, a CIFAR binary archive, or a name to "
            f"download: {', '.join(ARCHIVES)}"
        )
    file = folder / f"images-{_fingerprint(source)}-{image_size}.safetensors"
    if file.exists():
        found = _read_array_file(file)
        if found is not None:
            return found
    train, test, classes = decode(source, image_size)
    first, second = _tensors(train), _tensors(test)
    images = Images(first, second, classes, _sha256(first, second))
    _write_array_file(file, images)
    return images


def cached_images(sha256: str, image_size: int, cache: Path | None = None) -> Images | None:
    """Images that were decoded before, by the checksum of their pixels and labels; None if they are not there."""
    for file in sorted((cache or cache_folder()).glob(f"images-*-{image_size}.safetensors")):
        images = _read_array_file(file)
        if images is not None and images.sha256 == sha256:
            return images
    return None


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


def _tensors(part: Part) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(np.ascontiguousarray(part[0])), torch.from_numpy(part[1])


def _sha256(*parts: tuple[Tensor, Tensor]) -> str:
    digest = hashlib.sha256()
    for pixels, labels in parts:
        digest.update(pixels.numpy().data)
        digest.update(labels.numpy().data)
    return digest.hexdigest()


def _write_array_file(file: Path, images: Images) -> None:
    from safetensors.torch import save

    tensors = {
        f"{s}_{k}": t
        for s, pair in zip(SPLITS, (images.train, images.test), strict=True)
        for k, t in zip(("images", "labels"), pair, strict=True)
    }
    content = save(tensors, metadata={"sha256": images.sha256, "classes": "\n".join(images.classes)})
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with new_file(file) as part:
            part.write_bytes(content)
    except OSError as error:
        raise DataError(
            f"cannot keep the decoded images in {file}: {error.strerror or error}; free {len(content) >> 20} MiB "
            "there, or name another folder by ARCHRANK_CACHE"
        ) from None


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
