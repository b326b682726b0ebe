"""What training adds to a memory, over seeds that are made up."""

import csv
import io
import json

import numpy as np
import pytest

from nlstm_jax.analysis import memory_report
from nlstm_jax.analysis.memories import time_scale
from nlstm_jax.analysis.memory_report import MemoryMeasures, RunMemories, inner_and_outer, memory_rows
from nlstm_jax.analysis.statistics import estimate, paired

LAGS = np.arange(60)


def measures(tau: float, change: float = 0.1) -> MemoryMeasures:
    correlations = np.exp(-LAGS / tau) if tau else np.full(60, np.nan)
    return MemoryMeasures(correlations, correlations[1:], {"held at zero": change})


def run(number: int, outer: float, inner: float) -> RunMemories:
    """Return a run of a Nested LSTM whose untrained memories have the time scales 3 and 4 plus a seed's own part."""
    untrained = {"inner.h": measures(3 + 0.1 * number), "inner.c": measures(4 + 0.3 * number)}
    trained = {"inner.h": measures(outer), "inner.c": measures(inner)}
    return RunMemories(f"runs/{number}", trained, untrained, 1.5, "nats per target", (), {})


RUNS = [run(0, 3.5, 9.0), run(1, 3.2, 8.0), run(2, 3.9, 11.0)]


def test_the_excess_is_paired_by_run_and_its_contrast_is_a_difference_of_excesses():
    rows = {(row.measure, row.memory): row for row in memory_rows({"nlstm": RUNS})}
    excess = {}
    for memory in ("inner.h", "inner.c"):
        trained = [time_scale(one.trained[memory].correlations) for one in RUNS]
        untrained = [time_scale(one.untrained[memory].correlations) for one in RUNS]
        excess[memory] = [a - b for a, b in zip(trained, untrained, strict=True)]
        row = rows["time scale", memory]
        assert row.excess == estimate(excess[memory])
        assert (row.excess.value, row.excess.half_width) == pytest.approx(paired(trained, untrained)[:2])
        assert row.excess.value == pytest.approx(row.trained.value - row.untrained.value)
    contrast = rows["time scale", "inner.c − inner.h"].excess
    difference = paired(excess["inner.c"], excess["inner.h"])
    assert contrast[:2] == pytest.approx(difference[:2])


def test_a_run_without_a_value_is_left_out_and_rows_have_their_units():
    rows = memory_rows({"nlstm": [*RUNS, run(3, 0.0, 9.0)]})
    seeds = {row.memory: row.excess.seeds for row in rows if row.measure == "time scale"}
    assert seeds == {"inner.h": 3, "inner.c": 4, "inner.c − inner.h": 3}
    assert {row.unit for row in rows if row.measure.startswith("loss")} == {"nats per target"}
    assert {row.unit for row in rows if not row.measure.startswith("loss")} == {"steps"}


@pytest.mark.parametrize(
    ("memories", "expected"),
    [
        (["h"], []),
        (["h", "c"], []),
        (["h", "inner.h", "inner.inner.h", "inner.inner.c"], [("inner.h", "inner.inner.c")]),
        (["layers[0].h", "layers[1].h"], [("layers[0].h", "layers[1].h")]),
        (["h", "fast", "slow"], [("fast", "slow")]),
        (["encoder/h", "encoder/c", "decoder/h", "decoder/c"], []),
        (
            ["encoder/inner.h", "encoder/inner.c", "decoder/inner.h", "decoder/inner.c"],
            [("encoder/inner.h", "encoder/inner.c"), ("decoder/inner.h", "decoder/inner.c")],
        ),
    ],
)
def test_the_contrast_is_between_memories_of_one_layer(memories, expected):
    assert inner_and_outer(memories) == expected


def test_the_tables_have_the_same_numbers():
    rows = memory_rows({"nlstm": RUNS})
    table = list(csv.DictReader(io.StringIO(memory_report.csv_text(rows))))
    document = json.loads(memory_report.json_text({"nlstm": RUNS}, rows))
    assert [float(line["excess"]) for line in table] == [row.excess.value for row in rows]
    assert [line["excess_half_width"] for line in document["rows"]] == [row.excess.half_width for row in rows]
    assert memory_report.markdown(rows).count("\n") == len(rows) + 2
    (sentence,) = [line for line in memory_report.sentences(rows) if "time scale" in line]
    assert "inner.c − inner.h" in sentence
    assert sentence.endswith("longer by training)")
