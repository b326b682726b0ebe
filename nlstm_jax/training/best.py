"""What the metrics so far say about a run: its best step, and whether to stop."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nlstm_jax.runs import higher_is_better


@dataclass(frozen=True)
class BestSoFar:
    """Derived from the metrics file alone, so that a resumed run knows it without further bookkeeping.

    Attributes:
        best_step: of the best metric (the first, if several), None before any evaluation.
        best: that metric.
        since_best: evaluations after it.
        higher_is_better: of the metric.
    """

    best_step: int | None
    best: float | None
    since_best: int
    higher_is_better: bool = False

    @classmethod
    def of(cls, lines: Iterable[Mapping[str, Any]], metric: str) -> "BestSoFar":
        """By the validation split where there is one, else the last step counts as the best.

        >>> lines = [{"step": s, "split": "valid", "log_loss": x} for s, x in ((1, 3.0), (2, 2.0), (3, 2.5))]
        >>> BestSoFar.of(lines, "log_loss")
        BestSoFar(best_step=2, best=2.0, since_best=1, higher_is_better=False)
        """
        lines = list(lines)
        scored = [(line["step"], line[metric]) for line in lines if line["split"] == "valid" and metric in line]
        if not scored:
            trained = [(line["step"], line[metric]) for line in lines if line["split"] == "train" and metric in line]
            step, value = trained[-1] if trained else (None, None)
            return cls(step, value, 0, higher_is_better(metric))
        choose = max if higher_is_better(metric) else min
        place = choose(range(len(scored)), key=lambda number: scored[number][1])
        return cls(*scored[place], len(scored) - 1 - place, higher_is_better(metric))

    def reason_to_stop(self, patience: int, tolerance: float) -> str | None:
        """`"patience"`, `"tolerance"`, or None to go on; 0 switches either off."""
        if tolerance and self.best is not None:
            reached = self.best >= tolerance if self.higher_is_better else self.best <= tolerance
            if reached:
                return "tolerance"
        return "patience" if patience and self.since_best >= patience else None
