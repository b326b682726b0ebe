"""Tests of the error rates of tuning, comparison and verdict together, on recorded runs of one small model."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.verdicts import judged, study

RECORDED = Path(__file__).parents[2] / "docs" / "results" / "verdicts.json"


@pytest.fixture(scope="module")
def pool():
    """Return the validation log-loss of 300 seeds at each of three learning rates."""
    return np.array(list(json.loads(RECORDED.read_text("utf-8")).values()))


def test_a_model_is_seldom_better_than_itself_and_a_better_one_is_found(pool) -> None:
    found = study(pool, 200)
    assert found["itself"] <= 0.05
    assert found["better"] >= 0.80
    assert found["wrong"] <= 0.02


def test_what_is_far_better_is_always_named(pool) -> None:
    generator = np.random.default_rng(0)
    assert [judged(pool, generator, shift=50.0) for _ in range(3)] == ["a"] * 3
    assert [judged(pool, generator, shift=-50.0) for _ in range(3)] == ["b"] * 3
