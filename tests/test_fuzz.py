"""Damaged files of every kind that archrank reads: an answer or archrank's own one-line error, in bounded memory."""

import numpy as np
import pytest
from fuzz import fuzz, mutate


def check(n):
    outcome = fuzz(n)
    assert outcome.faults == []
    assert sum(outcome.counts.values()) == n
    assert outcome.counts["refused"] > n / 2, "damage that nobody notices tests nothing"
    assert outcome.counts["valid"] > 0, "damage that everybody notices neither"


def test_three_hundred_damaged_files():
    check(300)


@pytest.mark.slow
def test_twenty_thousand_damaged_files():
    check(20_000)


def test_damage_is_seeded_and_is_damage():
    data = bytes(range(256)) * 4
    first, again = ([mutate(data, np.random.default_rng([0, n])) for n in range(50)] for _ in range(2))
    assert first == again
    assert len(set(first)) > 45
    assert sum(d != data for d in first) > 45
