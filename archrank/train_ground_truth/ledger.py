"""The state of a campaign: what is to be done, waited for, tried again or given up."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence

from archrank.train_ground_truth.contract import OUT_OF_MEMORY, Job, Outcome, Progress, Setup, keys_of, missing
from archrank.train_ground_truth.store import Store

POLL_SECONDS = 1.0  # how often jobs that another run works on are looked at again


class CampaignError(RuntimeError):
    """Jobs that were given up, after all the others are done.

    Attributes
    ----------
    failures
        Key -> text of the last attempt, in the order in which they were given up.
    """

    def __init__(self, message: str, failures: Mapping[str, str]) -> None:
        super().__init__(message)
        self.failures = dict(failures)


class Ledger:
    """Jobs by state; told of every attempt, it decides what comes next."""

    def __init__(self, jobs: Sequence[Job], setup: Setup, store: Store, retries: int, progress: Progress) -> None:
        distinct = {job.key: job for job in jobs}
        self.setup, self.store, self.retries, self.progress = setup, store, retries, progress
        self.todo = deque(job for job in distinct.values() if missing(job, store))
        self.waiting: list[Job] = []
        self.hungry: list[Job] = []  # out of memory beside others
        self.failed: dict[str, str] = {}
        self.total, self.finished, self.ran = len(distinct), len(distinct) - len(self.todo), 0
        self._attempts: Counter[str] = Counter()
        self._last_chance = False
        self._looked = time.monotonic()
        progress(self.finished, self.total, "")

    def settle(self, job: Job, outcome: Outcome) -> None:
        """Take note of how an attempt at a job ended."""
        if outcome.kind == "fatal":
            assert outcome.error is not None
            raise outcome.error
        if outcome.kind in ("done", "made"):
            self._finish(job, by_us=outcome.kind == "done")
        elif outcome.kind == "held":
            self.waiting.append(job)
        elif outcome.kind == "again":
            self.todo.append(job)
        elif outcome.kind == "memory":
            self.store.write_error(job.key, outcome.text)
            if not self._last_chance:
                self.hungry.append(job)
            elif self._record_failure(job):
                self._finish(job, by_us=True, keep_error=True)
            else:
                self.failed[job.key] = outcome.text
        else:
            self.store.write_error(job.key, outcome.text)
            self._attempts[job.key] += 1
            if self._attempts[job.key] > self.retries:
                self.failed[job.key] = outcome.text
            else:
                self.todo.append(job)

    def look_again(self) -> None:
        """Try the jobs that another run works on, now and then, once ours are all begun."""
        if self.waiting and not self.todo and time.monotonic() - self._looked >= POLL_SECONDS:
            what = f"waiting for another run: {self.waiting[0].key} and {len(self.waiting) - 1} more"
            self.progress(self.finished, self.total, what)
            self.todo.extend(self.waiting)
            self.waiting.clear()
            self._looked = time.monotonic()

    def second_chance(self) -> None:
        """From now on whatever runs out of memory does so alone."""
        self.todo.extend(self.hungry)
        self.hungry.clear()
        self._last_chance = True

    def raise_failures(self) -> None:
        """`CampaignError` if jobs were given up."""
        if self.failed:
            key, text = next(iter(self.failed.items()))
            file = self.store.folder / "errors" / f"{key}.txt"
            raise CampaignError(
                f"{len(self.failed)} of {self.total} jobs failed; the first, {key}: {text.strip().splitlines()[-1]} "
                f"(all of it: {file}); the others are done: mend the cause and run the same command again",
                self.failed,
            )

    def _finish(self, job: Job, *, by_us: bool, keep_error: bool = False) -> None:
        if not keep_error:
            self.store.clear_error(job.key)
        self.finished += 1
        self.ran += by_us
        self.progress(self.finished, self.total, job.key)

    def _record_failure(self, job: Job) -> bool:
        failure = getattr(job, "failure", None)
        if failure is None:
            return False
        with self.store.claim(*keys_of(job)) as mine:
            records = failure(self.setup, self.store.images, OUT_OF_MEMORY) if mine else {}
            for key, record in records.items():
                if self.store.read(key) is None:
                    self.store.write(key, record)
        return not missing(job, self.store)  # a record that was to be made again stays as it is
