"""Launchers: the same records whoever makes them; jobs that fail end neither the run nor each other."""

import builtins
import math
import os
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import TINY, FullAtFirst, Note, Train, Weigh, lines, table_bytes, values

from archrank.train_ground_truth.attempt import out_of_memory, portable
from archrank.train_ground_truth.data import DataError
from archrank.train_ground_truth.jobs import TrainJob
from archrank.train_ground_truth.launch import CampaignError, Setup, run_jobs
from archrank.train_ground_truth.recipe import recipe_from_dict
from archrank.train_ground_truth.store import Store, StoreError
from archrank.train_ground_truth.workers import ThisProcess, worker_device


def test_workers_go_round_the_gpus():
    assert [worker_device("cuda", i, 3) for i in range(5)] == ["cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1"]
    assert [worker_device("cuda:1", i, 3) for i in range(2)] == ["cuda:1", "cuda:1"]
    assert worker_device("cpu", 1, 2) == "cpu"
    with pytest.raises(ValueError, match="sees no CUDA device; use auto or cpu"):
        worker_device("cuda", 0, 0)


def test_number_of_workers_and_order_do_not_matter(setup, store, tmp_path):
    jobs = [Train(code, seed) for seed in (0, 1) for code in ((0, 3), (4, 1), (0, 0))]
    seen = []
    assert run_jobs(jobs, setup, store, progress=lambda *what: seen.append(what)) == 6
    assert [what[:2] for what in seen] == [(i, 6) for i in range(7)]
    assert {what[2] for what in seen} == {"", *(job.key for job in jobs)}
    other = Store.create(tmp_path / "two", setup.recipe, store.images)
    assert run_jobs(jobs[::-1], setup, other, workers=2) == 6
    assert table_bytes(other.folder) == table_bytes(store.folder)
    pids = {record["host"]["pid"] for record in other.read_all().values()}
    assert os.getpid() not in pids


def test_what_is_done_is_not_done_again_and_damage_is(setup, store):
    jobs = [Train((0, 3)), Train((4, 1)), Train((0, 3))]
    assert run_jobs(jobs, setup, store) == 2
    first = store.read_all()
    assert run_jobs(jobs, setup, store) == 0
    assert store.read_all() == first
    file = store.folder / "records" / f"{jobs[0].key}.json"
    file.write_bytes(file.read_bytes()[:-40])
    assert run_jobs(jobs, setup, store) == 1
    assert file.with_suffix(".json.damaged").exists()
    assert {k: values(r) for k, r in store.read_all().items()} == {k: values(r) for k, r in first.items()}


def test_a_job_that_raises_is_tried_again_and_given_up_after_the_others(setup, store, log):
    bad = Note("bad", log, fails=9, how="error")
    weak = Note("weak", log, fails=1, how="error")
    jobs = [bad, weak, Note("good", log)]
    with pytest.raises(
        CampaignError, match=r"1 of 3 jobs failed; the first, note-bad: RuntimeError: bad fail"
    ) as caught:
        run_jobs(jobs, setup, store, retries=2)
    assert "\n" not in str(caught.value)
    assert store.keys() == ["note-good", "note-weak"]
    assert [line.split()[0] for line in lines(log)] == ["bad", "weak", "good", "good", "bad", "weak", "weak", "bad"]
    traceback = store.folder / "errors" / "note-bad.txt"
    assert str(traceback) in str(caught.value)
    assert "Traceback" in traceback.read_text()
    assert caught.value.failures == {"note-bad": traceback.read_text()}
    assert run_jobs([Note("bad", log)], setup, store) == 1
    assert list(traceback.parent.iterdir()) == []


def test_out_of_memory_is_tried_again_alone_and_then_a_record(setup, pictures, store, log, tmp_path):
    """Beside others a job may lack memory that it has when alone: a result must not depend on the company."""
    enough_alone = Note("large", log, fails=1, how="memory")
    assert run_jobs([enough_alone, Note("good", log)], setup, store) == 2
    assert store.keys() == ["note-good", "note-large"]
    assert int(lines(log)[-1].split()[2]) != os.getpid()

    wide = recipe_from_dict({**TINY, "space": {**TINY["space"], "width": 1 << 20}})  # 40 terabytes
    other = Store.create(tmp_path / "wide", wide, store.images)
    job = TrainJob((0, 3), 0)
    assert run_jobs([job], Setup(wide, str(pictures), "cpu"), other) == 1
    record = other.read(job.key)
    assert record["status"] == "out-of-memory"
    assert math.isnan(record["metrics"]["test_acc"])
    assert "can't allocate memory" in (other.folder / "errors" / f"{job.key}.txt").read_text()
    assert run_jobs([job], Setup(wide, str(pictures), "cpu"), other) == 0


@pytest.mark.parametrize(
    ("error", "whether"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("Triton Error [CUDA]: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error, whether):
    assert out_of_memory(error) is whether


def test_images_without_memory_beside_neighbours_do_not_end_the_run_at_once(setup, store, log, tmp_path):
    """Another worker takes the place of one that could not begin, as often as a job is tried again."""
    crowded = FullAtFirst(setup.recipe, setup.data_path, "cpu", str(tmp_path / "few"), fails=2)
    assert run_jobs([Note("a", log), Note("d", log)], crowded, store, workers=2) == 2
    full = replace(crowded, starts=str(tmp_path / "many"), fails=9)
    with pytest.raises(CampaignError, match=r"4 workers in a row died before they began .*lower --workers if memory"):
        run_jobs([Note("b", log), Note("c", log)], full, store, workers=2)


def test_a_second_chance_finds_the_memory_of_the_first(setup, store, log):
    crew = ThisProcess(setup, store)
    crew.start(Note("a", log))
    crew.wait(None)
    images = weakref.ref(crew._data)
    crew.close()
    assert images() is None


def test_images_that_find_no_memory_end_a_run_of_one_worker_in_one_line(setup, store, log, tmp_path):
    full = FullAtFirst(setup.recipe, setup.data_path, "cpu", str(tmp_path / "starts"), fails=9)
    with pytest.raises(CampaignError, match=r"images find no memory on cpu \(CUDA error: out of memory\); free some"):
        run_jobs([Note("a", log)], full, store)
    assert store.keys() == []


def test_a_worker_that_dies_is_replaced_and_only_its_job_blamed(setup, store, log):
    jobs = [
        Note("deadly", log, fails=9, how="kill"),
        Note("once", log, fails=1, how="kill"),
        *(Note(str(i), log, pause=0.1) for i in range(4)),
    ]
    with pytest.raises(CampaignError, match=r"1 of 6 jobs failed; the first, note-deadly: its worker died .* signal 9"):
        run_jobs(jobs, setup, store, workers=2, retries=1)
    assert store.keys() == [f"note-{name}" for name in ("0", "1", "2", "3", "once")]
    tries = [line.split()[0] for line in lines(log) if " try " in line]
    assert {name: tries.count(name) for name in tries} == {"deadly": 2, "once": 2, "0": 1, "1": 1, "2": 1, "3": 1}


def test_images_that_cannot_be_used_end_the_run_with_their_own_error(setup, store, log):
    greedy = recipe_from_dict({**TINY, "data": {"train": 900, "val": 12}})
    with pytest.raises(DataError, match="wants 900"):
        run_jobs([Note("a", log), Note("b", log)], Setup(greedy, setup.data_path, "cpu"), store, workers=2)
    assert lines(log) == []


def test_images_that_changed_since_the_store_was_opened_are_refused(setup, store, log):
    store.images = "0" * 64
    with pytest.raises(StoreError, match=r"has changed: .* holds results on images 000000000000, now they are"):
        run_jobs([Note("a", log)], setup, store)


def test_errors_that_cannot_travel_say_the_same():
    class LocalError(Exception):
        pass

    assert str(portable(LocalError("what happened"))) == "LocalError: what happened"
    assert isinstance(portable(DataError("x")), DataError)


def test_launchers_that_are_not_there(setup, store, log, monkeypatch):
    with pytest.raises(ValueError, match="'slurm' is not known; expected local or ray"):
        run_jobs([Note("a", log)], setup, store, launcher="slurm")
    real = builtins.__import__

    def without_ray(name, *args, **kwargs):
        if name == "ray":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    with pytest.raises(CampaignError, match=r"install it with: pip install 'archrank\[ray\]'"):
        run_jobs([Note("a", log)], setup, store, launcher="ray")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_several_networks_at_once_on_a_gpu_change_nothing(setup, store, tmp_path):
    on_gpu = Setup(setup.recipe, setup.data_path, "cuda")
    jobs = [Train((a, b)) for a in (0, 20) for b in (3, 41)]
    other = Store.create(tmp_path / "two", setup.recipe, store.images)
    run_jobs(jobs, on_gpu, store)
    run_jobs(jobs, on_gpu, other, workers=2)
    assert table_bytes(other.folder) == table_bytes(store.folder)
    assert {record["host"]["device"] for record in other.read_all().values()} == {"cuda"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning")
def test_ray_with_a_node_killed_in_the_middle_gives_what_local_workers_give(setup, store, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    jobs = [Train((a, b)) for a in (0, 3, 9) for b in (1, 4, 7, 20)]
    run_jobs(jobs, setup, store)
    there = Store.create(tmp_path / "ray", setup.recipe, store.images)
    teacher = Store.create(tmp_path / "teacher", setup.recipe, store.images)
    teacher.write("t", {"metrics": {}, "weights": {"w": torch.arange(3.0)}})

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # nodes must find this test's jobs
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        second = cluster.add_node(num_cpus=1)
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        killed = []

        def kill_a_node(done: int, total: int, key: str) -> None:
            if done == 4 and not killed:
                killed.append(key)
                cluster.remove_node(second, allow_graceful=False)

        slow_ones = [Train(job.code, job.seed, pause=1.0) for job in jobs]
        assert run_jobs(slow_ones, setup, there, launcher="ray", progress=kill_a_node) == len(jobs)
        assert killed
        assert table_bytes(there.folder) == table_bytes(store.folder)
        assert len({record["host"]["pid"] for record in there.read_all().values()} - {os.getpid()}) >= 2

        # Weights and errors travel, also from a store that a node does not see.
        weigh = Weigh((str(teacher.folder), "t"))
        assert run_jobs([weigh], setup, there, launcher="ray") == 1
        assert there.read(weigh.key)["metrics"] == {"sum": 3.0}
        bad = Note("bad", str(tmp_path / "log"), fails=9, how="error")
        with pytest.raises(CampaignError, match="note-bad: RuntimeError: bad failed on purpose"):
            run_jobs([bad], setup, there, launcher="ray", retries=1)
        large = Note("large", str(tmp_path / "log"), fails=1, how="memory")
        assert run_jobs([large], setup, there, launcher="ray") == 1

        # Images that find no memory say nothing of the job: it runs alone, and if that fails too the run ends.
        crowded = FullAtFirst(setup.recipe, setup.data_path, "cpu", str(tmp_path / "few"), fails=1)
        assert run_jobs([Note("first", str(tmp_path / "log"))], crowded, there, launcher="ray") == 1
        full = replace(crowded, starts=str(tmp_path / "many"), fails=9)
        with pytest.raises(CampaignError, match="the images find no memory, with no other job of this run"):
            run_jobs([Note("second", str(tmp_path / "log"))], full, there, launcher="ray")
        assert there.read("note-second") is None
        assert not (there.folder / "errors" / "note-second.txt").exists()
    finally:
        ray.shutdown()
        cluster.shutdown()
