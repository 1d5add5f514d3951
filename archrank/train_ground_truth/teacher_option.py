"""Which network ``--teacher`` names, and the store that holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from archrank.train_ground_truth.command_runs import Place, run

if TYPE_CHECKING:
    from archrank.spaces import BloxSpace
    from archrank.train_ground_truth.jobs import TeacherRef
    from archrank.train_ground_truth.recipe import Recipe
    from archrank.train_ground_truth.store import Store


def find_teacher(text: str, recipe: Recipe, store: Store, place: Place) -> TeacherRef:
    """``STORE:KEY``, ``untrained:ARCH`` or ``ARCH``; the last is trained if the store lacks its weights."""
    from archrank.train_ground_truth.jobs import TeacherRef, TrainJob
    from archrank.train_ground_truth.store import Store

    folder, _, rest = text.rpartition(":")
    if folder == "untrained":
        return TeacherRef(_one_code(rest, recipe.build_space()), 0, None)
    if folder:
        source = Store(folder)
        record = source.read(rest)
        if record is None or record.get("variant") != "normal":  # a teacher's name stands for normal training
            raise typer.BadParameter(
                f"--teacher: {folder} has no network {rest!r} trained from scratch; give a key such as normal-3-14-s0"
            )
        source.weights(rest)
        return TeacherRef(tuple(record["code"]), record["seed"], folder)
    teacher = TeacherRef(_one_code(text, recipe.build_space()), 0, str(store.folder))
    run([TrainJob(teacher.code, 0, keep_weights=True)], recipe, store, place, "training the teacher")
    return teacher


def teacher_of_blocks(store: Store, name: str) -> TeacherRef:
    """The teacher whose distilled blocks are in a store, its own weights too."""
    from archrank.train_ground_truth.jobs import TeacherRef

    names = sorted({r["teacher"] for r in store.read_all().values() if r.get("kind") == "block"})
    # An architecture alone will do where it was a teacher with one seed only.
    chosen = [n for n in names if name in ("", n)] or [n for n in names if n.rpartition("-s")[0] == name]
    if len(chosen) != 1:
        cure = "choose one with --teacher" if names else "make them with: archrank distill --keep-weights"
        raise typer.BadParameter(
            f"{store.folder} holds blocks of teachers {names}, asked for {name or 'any'!r}; {cure}"
        )
    digits, _, seed = chosen[0].removeprefix("untrained-").rpartition("-s")
    code = tuple(int(b) for b in digits.split("-"))
    return TeacherRef(code, int(seed), None if chosen[0].startswith("untrained-") else str(store.folder))


def _one_code(text: str, space: BloxSpace) -> tuple[int, ...]:
    """``3-14`` or ``conv>conv,bconv``."""
    parts = text.split("-") if text.replace("-", "").isdigit() else text.split(",")
    if len(parts) != space.stages:
        raise typer.BadParameter(f"--teacher {text!r} names {len(parts)} blocks, the space has {space.stages} stages")
    codes = space.validate([[int(p) for p in parts]]) if parts[0].isdigit() else space.codes_from_names([parts])
    return tuple(int(b) for b in codes[0])
