"""Faults, each made for real: killed processes, shared stores, a full disk, a diverging network, no memory."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from tiny import TINY, Note, Train, group, lines, python, table_bytes, until

from archrank import cli
from archrank.train_ground_truth import load_images, merge
from archrank.train_ground_truth.jobs import TrainJob
from archrank.train_ground_truth.launch import Setup, run_jobs
from archrank.train_ground_truth.recipe import recipe_from_dict
from archrank.train_ground_truth.store import Store

RECIPE_FILE = (
    'name = "tiny"\n[space]\nstages = 2\nwidth = 4\nimage_size = 8\nclasses = 3\n'
    "[data]\ntrain = 48\nval = 12\n[training]\nepochs = {epochs}\nbatch_size = 8\n"
)


# A run of the jobs in a file, each ``[name, pause, fails, how]``, by a process of its own.
RUN = """
import json, sys
from tiny import TINY, Note
from archrank.train_ground_truth.launch import Setup, run_jobs
from archrank.train_ground_truth.recipe import recipe_from_dict
from archrank.train_ground_truth.store import Store

folder, pictures, log, jobs = sys.argv[1:]
jobs = [Note(name, log, pause, fails, how) for name, pause, fails, how in json.loads(jobs)]
run_jobs(jobs, Setup(recipe_from_dict(TINY), pictures, "cpu"), Store(folder))
"""


def _another_run(setup, store, jobs):
    rows = [[job.name, job.pause, job.fails, job.how] for job in jobs]
    return python(RUN, store.folder, setup.data_path, jobs[0].log, json.dumps(rows))


def test_two_runs_on_one_store_share_the_work_and_both_see_it_done(setup, store, log):
    jobs = [Note(str(i), log, pause=0.3) for i in range(14)]
    other = _another_run(setup, store, jobs)
    until(lambda: lines(log))
    ours = run_jobs(jobs, setup, store)
    assert other.wait(60) == 0
    assert len(store.read_all()) == 14
    done = [line.split() for line in lines(log) if " done " in line]
    assert sorted(name for name, _, _ in done) == sorted(job.name for job in jobs), "lost, or done twice"
    assert sum(int(pid) == os.getpid() for _, _, pid in done) == ours
    assert 0 < ours < 14


def test_what_a_dead_run_was_working_on_is_taken_over(setup, store, log):
    jobs = [Note("stuck", log, fails=1, how="hang"), Note("free", log)]
    other = _another_run(setup, store, jobs)
    until(lambda: lines(log))
    said = []

    def kill_it(done, total, what):
        said.append((done, total, what))
        if what.startswith("waiting"):
            other.kill()

    assert run_jobs(jobs, setup, store, progress=kill_it) == 2
    other.wait()
    assert (1, 2, "waiting for another run: note-stuck and 0 more") in said
    assert sorted(store.read_all()) == ["note-free", "note-stuck"]


def test_killing_the_parent_alone_leaves_no_worker_behind_and_loses_nothing(pictures, tmp_path):
    recipe_file = tmp_path / "tiny.toml"
    recipe_file.write_text(RECIPE_FILE.format(epochs=15))
    store = tmp_path / "killed"
    command = [sys.executable, "-m", "archrank", "train", str(recipe_file), "--data", str(pictures), "--archs", "6"]
    command += ["--device", "cpu", "--out", str(store)]
    process = subprocess.Popen([*command, "--workers", "2"], stderr=subprocess.DEVNULL, start_new_session=True)
    records = store / "records"
    until(lambda: len(list(records.glob("[!.]*.json"))) >= 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: not group(process.pid), 20)
    kept = {f.name: f.read_bytes() for f in records.glob("[!.]*.json")}
    assert 2 <= len(kept) < 6
    plan = Store(store).recipe
    jobs = [TrainJob(tuple(code), 0) for code in plan.build_space().sample(6, seed=0).tolist()]
    setup = Setup(plan, str(pictures), "cpu")
    assert run_jobs(jobs, setup, Store(store)) == 6 - len(kept)
    assert all((records / name).read_bytes() == content for name, content in kept.items()), "trained twice"
    whole = Store.create(tmp_path / "whole", plan, Store(store).images)
    run_jobs(jobs, setup, whole)
    assert table_bytes(store) == table_bytes(whole.folder)


def test_a_full_disk_ends_the_command_in_one_line_and_it_goes_on_when_there_is_room(
    pictures, tmp_path, monkeypatch, capsys
):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    try:
        recipe_file = tmp_path / "tiny.toml"
        recipe_file.write_text(RECIPE_FILE.format(epochs=1))
        command = ["archrank", "train", str(recipe_file), "--data", str(pictures), "--archs", "5", "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", [*command, "--out", str(disk / "store")])
        # Room for the head and two records: files take whole pages of 4 KiB.
        (disk / "ballast").write_bytes(bytes(131072 - 3 * 4096))
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert caught.value.code == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert said.startswith(f"archrank: cannot write {disk}/store/records/normal-")
        assert "No space left on device; free some space and run the same command again" in said
        kept = {f: f.read_bytes() for f in (disk / "store" / "records").iterdir()}
        assert len(kept) == 2
        assert len(Store(disk / "store").read_all()) == 2
        (disk / "ballast").unlink()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert caught.value.code == 0
        assert len(Store(disk / "store").read_all()) == 5
        assert all(f.read_bytes() == content for f, content in kept.items())
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_diverged_network_is_a_record_and_not_a_zero(pictures, store, tmp_path):
    wild = recipe_from_dict({**TINY, "optimizer": {"lr": 1e30}})
    home = Store.create(tmp_path / "wild", wild, store.images)
    job = TrainJob((0, 3), 0)
    assert run_jobs([job], Setup(wild, str(pictures), "cpu"), home) == 1
    record = home.read(job.key)
    assert record["status"] == "diverged"
    assert math.isnan(record["metrics"]["test_acc"])
    assert run_jobs([job], Setup(wild, str(pictures), "cpu"), home) == 0
    table = merge(home, "wild")
    for metric in ("test_acc", "test_loss", "val_acc", "val_loss"):
        assert math.isnan(table.values(metric)[0])


# -- minutes long -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Devour(TrainJob):
    """Takes memory in a control group that has too little of it, until the kernel kills its process."""

    cgroup: str = ""

    def run(self, setup, data, store):
        (Path(self.cgroup) / "cgroup.procs").write_text(str(os.getpid()))
        hoard = []
        while True:
            hoard.append(b"x" * (1 << 20))


@pytest.fixture
def small_memory():
    """A control group of 64 MiB."""
    old, new = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    home, limit = (old, "memory.limit_in_bytes") if old.is_dir() else (new, "memory.max")
    folder = home / f"archrank-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / limit).write_text(str(64 << 20))
    except OSError:
        if folder.is_dir():
            folder.rmdir()
        pytest.skip("limiting memory needs root and control groups")
    yield str(folder)
    folder.rmdir()


@pytest.mark.slow
def test_a_job_that_the_kernel_kills_for_its_memory_is_a_record(setup, store, small_memory):
    jobs = [Devour((0, 3), 0, cgroup=small_memory), *(Train((a, 1)) for a in range(4))]
    assert run_jobs(jobs, setup, store, workers=2) == 5
    statuses = {key: record["status"] for key, record in store.read_all().items()}
    assert statuses.pop(jobs[0].key) == "out-of-memory"
    assert set(statuses.values()) == {"ok"}
    assert "ran out of memory" in (store.folder / "errors" / f"{jobs[0].key}.txt").read_text()


# Starts a campaign with two workers for each folder that it reads, and says its process id. Processes are
# forked from it, torch loaded, so that kills hit the work and not the start of Python.
ZYGOTE = """
import json, os, signal, sys, torch
from archrank.train_ground_truth import run_many, workers
from archrank.train_ground_truth.recipe import recipe_from_dict

pictures, recipe, codes = sys.argv[1], recipe_from_dict(json.loads(sys.argv[2])), json.loads(sys.argv[3])
torch.set_num_threads(1)
workers._START_METHOD = "fork"
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they end
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        run_many(codes, recipe, [0], line.strip(), data=pictures, device="cpu", workers=2)
        os._exit(0)
    print(pid, flush=True)
"""
CAMPAIGN = {**TINY, "training": {"epochs": 10, "batch_size": 8, "weights": "best-val"}}
NETWORKS, KILLS = 24, 100


def _table(store, folder):
    """The merged table without its host columns, as text."""
    merge(Store(store), "x").save(folder)
    frame = pd.read_parquet(folder / "table.parquet")
    return frame.drop(columns=["train_seconds", "host"]).to_csv()


@pytest.mark.slow
def test_a_hundred_kills_at_random_moments_change_no_byte(pictures, tmp_path):
    plan = recipe_from_dict(CAMPAIGN)
    codes = plan.build_space().sample(NETWORKS, seed=1).tolist()
    whole = Store.create(tmp_path / "whole", plan, load_images(pictures, 8).sha256)
    started = time.monotonic()
    run_jobs([TrainJob(tuple(code), 0) for code in codes], Setup(plan, str(pictures), "cpu"), whole)
    # Longer where the machine is slow or busy, so that work is done between two kills.
    window = min(max(3.0, (time.monotonic() - started) / 4), 4.0)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    rng, kills, leader = random.Random(0), {"parent": 0, "worker": 0}, 0
    stores, seen = [tmp_path / "0"], {}
    with python(ZYGOTE, pictures, json.dumps(CAMPAIGN), json.dumps(codes), **pipes) as zygote:

        def unfinished() -> bool:
            return len(list((stores[-1] / "records").glob("[!.]*.json"))) < NETWORKS

        def begin() -> int:
            zygote.stdin.write(f"{stores[-1]}\n")
            zygote.stdin.flush()
            return int(zygote.stdout.readline())

        while sum(kills.values()) < KILLS:
            if not leader or not group(leader):
                if not unfinished():
                    stores.append(tmp_path / str(len(stores)))
                leader = begin()
            time.sleep(rng.uniform(0, window))
            alive = set(group(leader))
            if leader not in alive:
                continue
            workers = sorted(alive - {leader})
            victim = rng.choice(workers) if workers and rng.random() < 0.6 else leader
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
            kills["parent" if victim == leader else "worker"] += 1
            for file in (stores[-1] / "records").glob("[!.]*.json"):
                assert file.read_bytes() == seen.setdefault(file, file.read_bytes()), "made twice"
        while group(leader) or unfinished():
            if not group(leader):
                leader = begin()
            time.sleep(0.1)
        zygote.stdin.close()
    assert min(kills.values()) > KILLS // 4, kills
    expected, table = table_bytes(whole.folder), _table(whole.folder, tmp_path / "whole-table")
    for folder in stores:
        assert table_bytes(folder) == expected
        assert _table(folder, tmp_path / f"{folder.name}-table") == table
        assert not list(folder.rglob("*.damaged"))
