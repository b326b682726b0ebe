"""The time scales of memories over seeds: what training adds to them, with intervals, and the tables of it."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nlstm_jax.analysis.memories import mean_lag, time_scale
from nlstm_jax.analysis.statistics import Estimate, estimate, format_estimate
from nlstm_jax.analysis.table import markdown_text
from nlstm_jax.types import Float, JsonObject

TIME_SCALE = "time scale"
GRADIENT_LAG = "gradient lag"


class MemoryMeasures(NamedTuple):
    """The measurements of one memory of one model.

    Attributes:
        correlations: The autocorrelation at the lags 0 … K.
        gradients: The norm of the gradient of an output at the lags 1 … K.
        loss_changes: The change of the loss, by how the memory is held.
    """

    correlations: Float[np.ndarray, "K+1"]
    gradients: Float[np.ndarray, "K"]
    loss_changes: Mapping[str, float]

    @property
    def values(self) -> dict[str, float]:
        """The numbers by the name of the measure. NaN where a measure has no value."""
        numbers = {TIME_SCALE: time_scale(self.correlations), GRADIENT_LAG: mean_lag(self.gradients)}
        return {**numbers, **{f"loss change, {name}": change for name, change in self.loss_changes.items()}}


class RunMemories(NamedTuple):
    """The measurements of one run.

    Attributes:
        path: The run folder.
        trained: The measurements of the trained model, by memory, such as `inner.c`.
        untrained: Those of the model that the run started from.
        loss: The loss of the trained model on the same examples, with no memory held.
        unit: The unit of the loss.
        words: The symbols of one sequence. Empty if the task has none.
        pictured: The trained memories while the model reads them, by memory: arrays [T, H].
    """

    path: str
    trained: Mapping[str, MemoryMeasures]
    untrained: Mapping[str, MemoryMeasures]
    loss: float
    unit: str
    words: Sequence[str]
    pictured: Mapping[str, Float[np.ndarray, "T H"]]

    def excess(self, memory: str, measure: str) -> float:
        """Return a measure of a trained memory minus that of the untrained one."""
        return self.trained[memory].values[measure] - self.untrained[memory].values[measure]


class MemoryRow(NamedTuple):
    """A measure of one memory, or of the difference of two, over the runs of a group.

    Attributes:
        group: The label of the group.
        measure: The name of the measure.
        unit: Its unit.
        memory: The memory, or `inner − outer` by their names.
        trained: The mean of the trained models.
        untrained: The mean of the models that the runs started from.
        excess: The mean of trained − untrained, paired by run.
    """

    group: str
    measure: str
    unit: str
    memory: str
    trained: Estimate
    untrained: Estimate
    excess: Estimate


def memory_rows(groups: Mapping[str, Sequence[RunMemories]]) -> list[MemoryRow]:
    """Return the rows of every measure and memory. The differences inner − outer follow the memories.

    A run in which a measure has no value is left out of its row. A row without runs is left out.
    """
    rows = []
    for group, runs in groups.items():
        memories = list(runs[0].trained)
        for measure in runs[0].trained[memories[0]].values:
            unit = runs[0].unit if measure.startswith("loss") else "steps"
            for memory in memories:
                trained = [run.trained[memory].values[measure] for run in runs]
                untrained = [run.untrained[memory].values[measure] for run in runs]
                rows += _row(group, measure, unit, memory, trained, untrained)
            for outer, inner in inner_and_outer(memories):
                trained = [_contrast(run.trained, inner, outer, measure) for run in runs]
                untrained = [_contrast(run.untrained, inner, outer, measure) for run in runs]
                rows += _row(group, measure, unit, f"{inner} − {outer}", trained, untrained)
    return rows


def inner_and_outer(memories: Sequence[str]) -> list[tuple[str, str]]:
    """Return the outermost and the innermost memory of each layer of a model that has two or more.

    The output h of a cell is not counted if the cell has another memory. `inner.h` of a Nested LSTM is the memory of
    the outer level. Of a stack, they are the memories of the lowest and the highest layer.

    >>> inner_and_outer(["h", "inner.h", "inner.c"]), inner_and_outer(["h", "c"])
    ([('inner.h', 'inner.c')], [])
    >>> inner_and_outer(["layers[0].h", "layers[0].c", "layers[1].h", "layers[1].c"])
    [('layers[0].c', 'layers[1].c')]
    """
    by_layer: dict[str, list[str]] = {}
    for memory in memories:
        layer = memory.rpartition("/")[0]
        if not _is_output(memory, memories):
            by_layer.setdefault(layer, []).append(memory)
    return [(names[0], names[-1]) for names in by_layer.values() if len(names) > 1]


def markdown(rows: Sequence[MemoryRow]) -> str:
    """Return the rows as a table in Markdown, with 95 % t-intervals over the seeds."""
    lines = ["| group | memory | measure | unit | seeds | trained | untrained | trained − untrained |"]
    lines.append("| --- | --- | --- | --- | ---: | ---: | ---: | ---: |")
    for row in rows:
        texts = [row.group, row.memory, row.measure, row.unit, str(row.excess.seeds)]
        for mean in (row.trained, row.untrained, row.excess):
            texts.append(format_estimate(mean.value, mean.half_width))
        lines.append("| " + " | ".join(map(markdown_text, texts)) + " |")
    return "\n".join(lines) + "\n"


def csv_text(rows: Sequence[MemoryRow]) -> str:
    """Return the rows as CSV with all digits. The half-width of a single seed is an empty field."""
    records = [_record(row) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def json_text(groups: Mapping[str, Sequence[RunMemories]], rows: Sequence[MemoryRow]) -> str:
    """Return the rows and the curves of every run as JSON. A value that does not exist is null."""
    runs = []
    for group, members in groups.items():
        for run in members:
            curves = {"trained": _curves(run.trained), "untrained": _curves(run.untrained)}
            runs.append({"group": group, "path": run.path, "loss": run.loss, "unit": run.unit, **curves})
    document = {"rows": [_record(row) for row in rows], "runs": runs}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def sentences(rows: Sequence[MemoryRow]) -> list[str]:
    """Return a line for every difference inner − outer in time scale and gradient lag: what training adds to it."""
    lines = []
    for row in rows:
        if " − " in row.memory and row.measure in (TIME_SCALE, GRADIENT_LAG):
            excess = row.excess
            text = f"{row.group}: training changes the {row.measure} of {row.memory} by "
            text += f"{format_estimate(excess.value, excess.half_width)} {row.unit} ({_verdict(excess)})"
            lines.append(text)
    return lines


def _verdict(excess: Estimate) -> str:
    """Return what an interval of an excess says."""
    if excess.half_width is None:
        return "1 run has no interval"
    text = f"95 % t-interval, {excess.seeds} runs: "
    if abs(excess.value) <= excess.half_width:
        return text + "not resolved"
    return text + ("longer by training" if excess.value > 0 else "shorter by training")


def _is_output(memory: str, memories: Sequence[str]) -> bool:
    """Return True for the output h of a cell that has another memory."""
    name = memory.rpartition("/")[2]
    cell, _, last = name.rpartition(".")
    if last != "h" or cell.endswith("inner"):
        return False
    start = memory.removesuffix("h")
    return any(other.startswith(start) and other != memory for other in memories)


def _contrast(measures: Mapping[str, MemoryMeasures], inner: str, outer: str, measure: str) -> float:
    """Return a measure of the inner memory minus that of the outer one."""
    return measures[inner].values[measure] - measures[outer].values[measure]


def _row(
    group: str, measure: str, unit: str, memory: str, trained: Sequence[float], untrained: Sequence[float]
) -> list[MemoryRow]:
    """Return the row of the runs that have both values, or nothing if there are none."""
    pairs = [(a, b) for a, b in zip(trained, untrained, strict=True) if math.isfinite(a - b)]
    if not pairs:
        return []
    means = (estimate([a for a, _ in pairs]), estimate([b for _, b in pairs]), estimate([a - b for a, b in pairs]))
    return [MemoryRow(group, measure, unit, memory, *means)]


def _record(row: MemoryRow) -> JsonObject:
    """Return a row as plain values."""
    record: JsonObject = {"group": row.group, "memory": row.memory, "measure": row.measure, "unit": row.unit}
    record["seeds"] = row.excess.seeds
    for name in ("trained", "untrained", "excess"):
        mean = getattr(row, name)
        record[name] = mean.value
        record[f"{name}_half_width"] = mean.half_width
    return record


def _curves(measures: Mapping[str, MemoryMeasures]) -> JsonObject:
    """Return the curves and values of a model, by memory."""
    document = {}
    for memory, measure in measures.items():
        document[memory] = {
            "autocorrelation": _plain(measure.correlations),
            "gradient": _plain(measure.gradients),
            "values": {name: value if math.isfinite(value) else None for name, value in measure.values.items()},
        }
    return document


def _plain(values: Float[np.ndarray, "K"]) -> list[float | None]:
    """Return an array as a list, with None in the place of NaN."""
    return [float(value) if math.isfinite(value) else None for value in values]
