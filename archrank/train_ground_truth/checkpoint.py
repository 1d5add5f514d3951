"""The state of a training after an epoch, from which it goes on with the same numbers."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import torch

from archrank.train_ground_truth.files import write_atomically
from archrank.train_ground_truth.runtime import Clock, machine

# Epochs shorter than this are not worth a file each.
_EVERY_SECONDS = 20.0


class Checkpoint:
    """One file, replaced whole after an epoch, removed at the end.

    Parameters
    ----------
    file
        None keeps nothing.
    device
        Where it is trained. Another processor, kind of device or torch would go on with other sums.
    belongs_to
        What is trained, and how; a file that says otherwise, or is damaged, is ignored.
    clock
        Its seconds are kept, and those of a restored state are added to it.
    """

    def __init__(self, file: Path | None, device: torch.device, belongs_to: str, clock: Clock) -> None:
        self.file = file
        self.belongs_to = " ".join([*machine(device), device.type, torch.__version__, belongs_to])
        self.clock = clock
        self._last = time.monotonic()

    def restore(
        self, parts: dict[str, Any], rng: torch.Generator, curves: dict[str, list[float]], best: dict[str, Any]
    ) -> int:
        """Put everything back as it was; the number of epochs that are done."""
        state = self._load()
        if state is None:
            return 0
        for name, part in parts.items():
            part.load_state_dict(state[name])
        rng.set_state(state["rng"].cpu())
        curves.update(state["curves"])
        best.update(state["best"])
        self.clock.add(*state["spent"])
        return int(state["epoch"])

    def _load(self) -> dict[str, Any] | None:
        if self.file is None or not self.file.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.file, map_location="cpu", weights_only=True)
        except Exception:
            # Whatever is wrong with it, the training starts anew and gives the same numbers.
            return None
        return state if state.get("belongs_to") == self.belongs_to else None

    def keep(
        self, epoch: int, parts: dict[str, Any], rng: torch.Generator, curves: dict[str, Any], best: dict[str, Any]
    ) -> None:
        """Write the state after `epoch` epochs, if the last file is old enough."""
        if self.file is None or time.monotonic() - self._last < _EVERY_SECONDS:
            return
        state = {name: part.state_dict() for name, part in parts.items()}
        state |= {"epoch": epoch, "rng": rng.get_state(), "curves": curves, "best": best}
        state |= {"belongs_to": self.belongs_to, "spent": self.clock.spent()}
        content = io.BytesIO()
        torch.save(state, content)
        write_atomically(self.file, content.getvalue())
        self._last = time.monotonic()

    def remove(self) -> None:
        """The training is over."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)
