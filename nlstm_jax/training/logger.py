"""Log lines and progress of a run: on the console with a progress bar, and plainly in its log file."""

import os
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from nlstm_jax.models import Parameters, fit_budget, is_recurrent
from nlstm_jax.types import Config, JsonObject


class Throughput:
    """A clock of training, which leaves out the first compiled call, as its time is the compiler's."""

    def __init__(self, batch_size: int) -> None:
        """Make a clock that has not started."""
        self._batch_size = batch_size
        self.has_compiled = False

    def start(self, step: int) -> None:
        """Start, or start anew, at a step."""
        self._first_step = step
        self._started = time.monotonic()

    def examples_per_second(self, step: int) -> float:
        """Return a run's examples per second since the start."""
        return (step - self._first_step) * self._batch_size / (time.monotonic() - self._started)


class RunLogger:
    """A writer of log lines to both the console and a file; without a terminal there is no progress bar."""

    def __init__(self, log: Path | None, console: Console) -> None:
        """Open the log file.

        Args:
            log: The log file, to which lines are appended; None: no file.
            console: The console.
        """
        self._console = console
        self._file = open(os.devnull, "w") if log is None else log.open("a", encoding="utf-8")  # noqa: SIM115
        # In a notebook a console would write to the page, whatever its file.
        self._log = Console(file=self._file, width=119, color_system=None, force_terminal=False, force_jupyter=False)
        self._bar = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[loss]}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._file.close()

    def log(self, content: RenderableType) -> None:
        """Print text, or anything else that rich can render, on the console and to the file."""
        is_text = isinstance(content, str)
        self._console.print(content, highlight=False, soft_wrap=is_text)
        self._log.print(content, highlight=False, soft_wrap=is_text)
        self._file.flush()

    def log_parameters(self, parameters: Parameters, config: Config, model_dims: Mapping[str, int]) -> None:
        """Log a table of the parameters; and the widths, where a budget has decided them.

        Args:
            parameters: The parameters of the model, by name.
            config: The configuration of the run.
            model_dims: The numbers of symbols, channels and so on that the task gives to a model.
        """
        table = Table("parameter", "shape", "size", title=None)
        table.columns[2].justify = "right"
        for name, value in parameters.items():
            shape = "×".join(map(str, value.shape))
            table.add_row(name, shape, f"{value.size:,}")
        table.add_section()
        table.add_row("cell", "", f"{count_cell_parameters(parameters):,}")
        table.add_row("all", "", f"{sum(value.size for value in parameters.values()):,}")
        self.log(table)
        budget = config["model"]["parameters"]
        if budget:
            widths, count = fit_budget(config, model_dims)
            self.log(f"model.parameters: {widths}: {count:,} parameters, {count / budget - 1:+.2%} from {budget:,}")

    def start_progress(self, step: int, total_steps: int) -> None:
        """Show the progress bar."""
        self._task = self._bar.add_task("", total=total_steps, completed=step, loss="", speed="")
        self._bar.start()

    def update_progress(self, step: int, loss: float, examples_per_second: float) -> None:
        """Move the progress bar."""
        speed = f"{examples_per_second:,.0f} examples/s"
        self._bar.update(self._task, completed=step, loss=f"loss {loss:.4f}", speed=speed)

    def log_evaluation(
        self, rows: Sequence[JsonObject], metric: str, best_step: int | None, seconds_left: float
    ) -> None:
        """Log one line about an evaluation; a star marks the best one so far.

        Args:
            rows: The metric rows of the evaluation, one for each split.
            metric: The metric that is shown.
            best_step: The best step so far.
            seconds_left: The time until the last step, evaluations not counted.
        """
        values = "  ".join(f"{row['split']} {row[metric]:.4f}" for row in rows if metric in row) or "no target"
        mark = "*" if rows[0]["step"] == best_step else " "
        left = timedelta(seconds=round(seconds_left))
        self.log(
            f"{_position(rows[0])}  {metric}: {values}{mark}  "
            f"{rows[0]['examples_per_second']:,.0f} examples/s  {left} left"
        )

    def log_group_evaluation(self, runs: Sequence[Sequence[JsonObject]], metric: str) -> None:
        """Log one line about an evaluation of several runs: the range of their values.

        Args:
            runs: The metric rows of each run, one for each split.
            metric: The metric that is shown.
        """
        ranges = []
        for rows in zip(*runs, strict=True):
            values = sorted(row[metric] for row in rows if metric in row)
            if values:
                ranges.append(f"{rows[0]['split']} {values[0]:.4f} … {values[-1]:.4f}")
        self.log(f"{_position(runs[0][0])}  {metric} of {len(runs)} runs: {'  '.join(ranges)}")

    def log_summary(self, summary: JsonObject, metric: str, prefix: str = "") -> None:
        """Log one line about the best step, if there was an evaluation."""
        if summary["best_step"] is None:
            return
        split = "valid" if "valid" in summary else "train"
        reason = f", by eval.{summary['stopped_by']}" if "stopped_by" in summary else ""
        self.log(
            f"{prefix}{summary['status']} after {summary['steps']:,} steps{reason}; best step "
            f"{summary['best_step']:,}: {split} {metric} {summary[split][metric]:.4f}"
        )


def count_cell_parameters(parameters: Parameters) -> int:
    """Count the parameters of a model that belong to its recurrent cells."""
    return sum(value.size for name, value in parameters.items() if is_recurrent(name))


def _position(row: JsonObject) -> str:
    return f"step {row['step']:>7,}  epoch {row['epoch']:>6.2f}"
