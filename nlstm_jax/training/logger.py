"""What a run says: to the console with a progress bar, and plainly to its log file."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from nlstm_jax.models import Parameters, fit_budget, is_recurrent


class RunLogger:
    """Says everything twice; where the console is no terminal there are plain lines and no bar."""

    def __init__(self, log: Path | None, console: Console) -> None:
        """Open the log, if there is to be one."""
        self._console = console
        self._file = open(os.devnull, "w") if log is None else log.open("a", encoding="utf-8")  # noqa: SIM115
        self._log = Console(file=self._file, width=119, color_system=None, force_terminal=False)
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

    def say(self, content: Any) -> None:
        """Print something rich can."""
        self._console.print(content, highlight=False, soft_wrap=isinstance(content, str))
        self._log.print(content, highlight=False, soft_wrap=isinstance(content, str))
        self._file.flush()

    def introduce(self, parameters: Parameters, config: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
        """A table of the parameters, the cell's and all added up; the widths, where a budget decided them.

        Args:
            parameters: of the model.
            config: its configuration.
            sizes: what the task asks of a model.
        """
        table = Table("parameter", "shape", "size", title=None)
        table.columns[2].justify = "right"
        for name, value in parameters.items():
            table.add_row(name, "×".join(map(str, value.shape)), f"{value.size:,}")
        table.add_section()
        table.add_row("cell", "", f"{cell_parameters(parameters):,}")
        table.add_row("all", "", f"{sum(value.size for value in parameters.values()):,}")
        self.say(table)
        if budget := config["model"]["parameters"]:
            widths, count = fit_budget(config, sizes)
            self.say(f"model.parameters: {widths}: {count:,} parameters, {count / budget - 1:+.2%} from {budget:,}")

    def begin(self, step: int, total: int) -> None:
        """Show the bar."""
        self._task = self._bar.add_task("", total=total, with_defaults=step, loss="", speed="")
        self._bar.start()

    def advance(self, step: int, loss: float, examples_per_second: float) -> None:
        """Move the bar."""
        self._bar.update(
            self._task, with_defaults=step, loss=f"loss {loss:.4f}", speed=f"{examples_per_second:,.0f} examples/s"
        )

    def evaluated(self, lines: list[dict[str, Any]], metric: str, best_step: int | None, seconds_left: float) -> None:
        """One line an evaluation."""
        first = lines[0]
        losses = "  ".join(f"{line['split']} {line[metric]:.4f}" for line in lines)
        mark = "*" if first["step"] == best_step else " "
        left = timedelta(seconds=round(seconds_left))
        self.say(
            f"step {first['step']:>7,}  epoch {first['epoch']:>6.2f}  {metric}: {losses}{mark}  "
            f"{first['examples_per_second']:,.0f} examples/s  {left} left"
        )

    def evaluated_together(self, runs: list[list[dict[str, Any]]], metric: str) -> None:
        """One line an evaluation of several runs: between what values they lie."""
        parts = []
        for lines in zip(*runs, strict=True):
            values = sorted(line[metric] for line in lines if metric in line)
            if values:
                parts.append(f"{lines[0]['split']} {values[0]:.4f} … {values[-1]:.4f}")
        first = runs[0][0]
        self.say(
            f"step {first['step']:>7,}  epoch {first['epoch']:>6.2f}  {metric} of {len(runs)} runs: {'  '.join(parts)}"
        )

    def conclude(self, summary: Mapping[str, Any], metric: str, name: str = "") -> None:
        """One line about the best step, if there was an evaluation."""
        if summary["best_step"] is None:
            return
        split = "valid" if "valid" in summary else "train"
        reason = f", by eval.{summary['stopped_by']}" if "stopped_by" in summary else ""
        self.say(
            f"{name}{summary['status']} after {summary['steps']:,} steps{reason}; best step "
            f"{summary['best_step']:,}: {split} {metric} {summary[split][metric]:.4f}"
        )


def cell_parameters(parameters: Parameters) -> int:
    """How many of a model's parameters are the cell's."""
    return sum(value.size for name, value in parameters.items() if is_recurrent(name))
