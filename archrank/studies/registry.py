"""Studies by name. A study's module is imported when it runs."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

from archrank._errors import there_are

if TYPE_CHECKING:
    from pathlib import Path

    from archrank.ground_truth import GroundTruth
    from archrank.studies.base import Progress, Study

_MODULES = {
    "distillation": "distillation",
    "finetune": "finetune",
    "iterative": "iterative",
    "macro-vs-cell": "macro_vs_cell",
    "nas-methods": "nas_methods",
    "signatures": "signatures",
    "teacher": "teacher",
}


def list_studies() -> tuple[str, ...]:
    """Names that `run_study` and ``archrank study`` take."""
    return tuple(_MODULES)


def run_study(
    name: str,
    benchmark: GroundTruth | str | Path = "blox-mini",
    *,
    quick: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Study:
    """Run a study on a table.

    Parameters
    ----------
    name
        One of `list_studies`.
    benchmark
        What `archrank.load_benchmark` takes.
    quick
        Fewer repetitions: under a minute on the bundled table.
    seed
        Of all that is left to chance.
    progress
        Called with (steps done, steps in all, label).
    **options
        What this study takes besides, such as ``metric``.

    Raises
    ------
    ValueError
        For an unknown name or option, or a table without what the study needs; the message says which
        command makes it.
    """
    from archrank.benchmarks.catalogue import load_benchmark

    if name not in _MODULES:
        raise ValueError(f"unknown study {name!r}; {there_are(name, _MODULES)}")
    run = import_module(f"archrank.studies.{_MODULES[name]}").run
    known = [p for p in inspect.signature(run).parameters if p not in ("bench", "quick", "seed", "progress")]
    if unknown := [option for option in options if option not in known]:
        takes = f"it takes {', '.join(known)}" if known else "it takes none"
        raise ValueError(f"study {name!r} has no option {unknown[0]!r}; {takes}")
    study: Study = run(load_benchmark(benchmark), quick=quick, seed=seed, progress=progress, **options)
    return study
