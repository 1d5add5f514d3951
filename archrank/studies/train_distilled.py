"""Training networks both ways, for the study of distillation."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from archrank.ground_truth import GroundTruth
from archrank.studies.base import Progress


def train_both_ways(
    recipe: str | Path,
    data: str | Path | None,
    networks: int,
    *,
    store: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    device: str = "auto",
    workers: int = 1,
) -> GroundTruth:
    """Train random networks normally, then again with the best of them by validation accuracy as the teacher.

    Parameters
    ----------
    recipe
        A packaged recipe or a TOML file.
    data
        Images, as for ``archrank train``.
    networks
        How many, drawn by `seed`, which is also that of their training.
    store
        Folder of the records: a run that was killed goes on there. By default nothing is kept.
    progress
        Called with (networks trained, in all, key).
    device, workers
        See `archrank.train_ground_truth.launch.run_jobs`.

    Returns
    -------
    GroundTruth
        Variants "normal" and "distilled"; the teacher's own network is not distilled from itself.

    Raises
    ------
    ValueError
        Without images, for fewer than 4 networks, or where the recipe or the store do not fit.
    """
    from archrank.train_ground_truth import Store, load_recipe, merge, run_jobs, run_many
    from archrank.train_ground_truth.jobs import TeacherRef, TrainJob
    from archrank.train_ground_truth.launch import Setup

    if data is None:
        raise ValueError("--train needs images; give --data PATH, as for `archrank train`")
    if networks < 4:
        raise ValueError(f"distillation is studied on 4 networks or more, got {networks}")
    if store is None:
        with tempfile.TemporaryDirectory() as folder:
            return train_both_ways(
                recipe, data, networks, store=folder, seed=seed, progress=progress, device=device, workers=workers
            )
    plan = load_recipe(recipe)
    codes = plan.build_space().sample(networks, seed=seed)

    def counted(before: int) -> Progress | None:
        return progress and (lambda done, _, key: progress(before + done, 2 * networks - 1, key))

    first = counted(0)
    run_many(codes, plan, [seed], store, data=data, device=device, workers=workers, keep_weights=True, progress=first)
    trained = merge(Store(store), plan.name)  # records hold curves, the table the epoch that was tested
    best = int(np.nanargmax(trained.values("val_acc", seed)[trained.lookup(codes)]))
    teacher = TeacherRef(tuple(codes[best].tolist()), seed, str(store))
    jobs = [TrainJob(tuple(code), seed, teacher) for code in np.delete(codes, best, axis=0).tolist()]
    home = Store(store)
    run_jobs(jobs, Setup(plan, str(data), device), home, workers=workers, progress=counted(networks))
    return merge(home, f"{plan.name} trained here")
