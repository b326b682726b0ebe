import pytest

from nlstm_jax.training.best import BestSoFar


def lines(*values, split="valid", metric="log_loss"):
    return [{"step": 8 * n, "split": split, metric: value} for n, value in enumerate(values, start=1)]


def test_the_best_step_is_the_first_of_the_lowest_validation_metric():
    assert BestSoFar.from_rows(lines(3.0, 2.0, 2.5), "log_loss") == BestSoFar(16, 2.0, 1)
    assert BestSoFar.from_rows(lines(3.0, 2.0, 2.0, 2.0), "log_loss") == BestSoFar(16, 2.0, 2)
    assert BestSoFar.from_rows(lines(3.0, 2.0, 1.0), "log_loss") == BestSoFar(24, 1.0, 0)


def test_neither_training_nor_test_decides_where_there_is_validation():
    mixed = lines(3.0, 2.0, 2.5) + lines(0.1, 0.2, 0.05, split="train") + lines(0.3, 0.1, 0.2, split="test")
    assert BestSoFar.from_rows(mixed, "log_loss") == BestSoFar(16, 2.0, 1)


def test_the_metric_asked_for_decides():
    both = [{"step": s, "split": "valid", "log_loss": a, "mse": b} for s, a, b in ((1, 1.0, 9.0), (2, 2.0, 4.0))]
    assert BestSoFar.from_rows(both, "log_loss").best_step == 1
    assert BestSoFar.from_rows(both, "mse").best_step == 2


def test_without_validation_the_last_step_is_the_best():
    assert BestSoFar.from_rows(lines(1.0, 2.0, split="train"), "log_loss") == BestSoFar(16, 2.0, 0)
    assert BestSoFar.from_rows([], "log_loss") == BestSoFar(None, None, 0)


def test_a_line_that_says_diverged_is_no_evaluation():
    diverged = {"step": 24, "split": "train", "diverged": True}
    assert BestSoFar.from_rows([*lines(3.0, 2.0), diverged], "log_loss") == BestSoFar(16, 2.0, 0)
    assert BestSoFar.from_rows([diverged], "log_loss") == BestSoFar(None, None, 0)


def test_of_a_metric_that_grows_the_highest_is_the_best():
    f1 = lines(0.1, 0.4, 0.4, 0.2, metric="f1")
    assert BestSoFar.from_rows(f1, "f1", higher_is_better=True) == BestSoFar(16, 0.4, 2, higher_is_better=True)


@pytest.mark.parametrize(
    ("progress", "patience", "tolerance", "reason"),
    [
        (BestSoFar(8, 2.0, 3), 0, 0.0, None),
        (BestSoFar(8, 2.0, 3), 4, 0.0, None),
        (BestSoFar(8, 2.0, 3), 3, 0.0, "patience"),
        (BestSoFar(8, 2.0, 0), 0, 1.9, None),
        (BestSoFar(8, 2.0, 0), 0, 2.0, "tolerance"),
        (BestSoFar(8, 2.0, 3), 3, 2.5, "tolerance"),
        (BestSoFar(None, None, 0), 1, 5.0, None),
        (BestSoFar(8, 0.8, 0, higher_is_better=True), 0, 0.9, None),
        (BestSoFar(8, 0.9, 0, higher_is_better=True), 0, 0.9, "tolerance"),
    ],
)
def test_a_run_stops_for_want_of_progress_or_for_being_good_enough(progress, patience, tolerance, reason):
    assert progress.reason_to_stop(patience, tolerance) == reason
