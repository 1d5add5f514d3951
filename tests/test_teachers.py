"""Which teacher's blocks `archrank finetune` takes."""

from __future__ import annotations

import pytest
import typer

from archrank.train_ground_truth.teacher_option import teacher_of_blocks


def hold_blocks(store, *teachers):
    for teacher in teachers:
        store.write(f"block-{teacher}", {"kind": "block", "teacher": teacher, "metrics": {}, "host": {}})


@pytest.mark.parametrize("name", ["33-4", "33-4-s0"])
def test_an_architecture_names_its_only_teacher(store, name):
    hold_blocks(store, "33-4-s0", "33-31-s0", "untrained-33-4-s0", "3-4-s0")
    teacher = teacher_of_blocks(store, name)
    assert (teacher.code, teacher.seed, teacher.store) == ((33, 4), 0, str(store.folder))


def test_an_untrained_teacher_is_named_as_one(store):
    hold_blocks(store, "33-4-s0", "untrained-33-4-s1")
    teacher = teacher_of_blocks(store, "untrained-33-4")
    assert (teacher.name, teacher.store) == ("untrained-33-4-s1", None)


def test_the_only_teacher_needs_no_name(store):
    hold_blocks(store, "33-4-s2")
    assert teacher_of_blocks(store, "").name == "33-4-s2"


@pytest.mark.parametrize("name", ["33-4", "", "4", "33", "33-4-s2"])
def test_what_names_several_or_none_is_explained(store, name):
    hold_blocks(store, "33-4-s0", "33-4-s1")
    with pytest.raises(typer.BadParameter, match=r"holds blocks of teachers \['33-4-s0', '33-4-s1'\], asked for .*--t"):
        teacher_of_blocks(store, name)


def test_a_store_without_blocks_says_how_to_make_them(store):
    with pytest.raises(typer.BadParameter, match="archrank distill --keep-weights"):
        teacher_of_blocks(store, "33-4")
