"""The best step of a run so far, and the rules that stop a run early."""

from collections.abc import Sequence
from dataclasses import dataclass

from nlstm_jax.types import JsonObject


@dataclass(frozen=True)
class BestSoFar:
    """The best evaluation of a run, derived from its metrics alone.

    A resumed run knows it without further bookkeeping.

    Attributes:
        best_step: The step of the best metric (the first, if several); None before any evaluation.
        best: The metric at that step.
        since_best: The number of evaluations after that step.
        higher_is_better: True if a higher value of the metric is better.
    """

    best_step: int | None
    best: float | None
    since_best: int
    higher_is_better: bool = False

    @classmethod
    def from_rows(cls, rows: Sequence[JsonObject], metric: str, *, higher_is_better: bool = False) -> "BestSoFar":
        """Find the best step in the rows of `metrics.jsonl`.

        The validation split decides. Without one, the last step counts as the best.

        >>> rows = [{"step": s, "split": "valid", "log_loss": x} for s, x in ((1, 3.0), (2, 2.0), (3, 2.5))]
        >>> BestSoFar.from_rows(rows, "log_loss")
        BestSoFar(best_step=2, best=2.0, since_best=1, higher_is_better=False)
        """
        valid = _values(rows, "valid", metric)
        if valid:
            choose = max if higher_is_better else min
            index = choose(range(len(valid)), key=lambda index: valid[index][1])
            best_step, best = valid[index]
            return cls(best_step, best, len(valid) - 1 - index, higher_is_better)
        train = _values(rows, "train", metric)
        if train:
            last_step, last = train[-1]
            return cls(last_step, last, 0, higher_is_better)
        return cls(None, None, 0, higher_is_better)

    def reason_to_stop(self, patience: int, tolerance: float) -> str | None:
        """Return `"patience"` or `"tolerance"` if the run is to stop, None if it goes on.

        Args:
            patience: The number of evaluations without a new best after which a run stops; 0 switches this off.
            tolerance: The value of the metric at which a run stops; 0 switches this off.
        """
        if tolerance and self.best is not None:
            is_reached = self.best >= tolerance if self.higher_is_better else self.best <= tolerance
            if is_reached:
                return "tolerance"
        if patience and self.since_best >= patience:
            return "patience"
        return None


def _values(rows: Sequence[JsonObject], split: str, metric: str) -> list[tuple[int, float]]:
    """Return (step, value) of every row of a split that has the metric."""
    return [(row["step"], row[metric]) for row in rows if row["split"] == split and metric in row]
