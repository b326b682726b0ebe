import math
from fractions import Fraction

import pytest

from nlstm_jax.training.schedule import TrainingSchedule


def make(examples, batch_size=32, epochs=3.0, steps=0, every_epochs=1.0, every_steps=0, steps_per_call=25):
    train = {"batch_size": batch_size, "epochs": epochs, "steps": steps, "steps_per_call": steps_per_call}
    return TrainingSchedule.from_config(
        {"train": train, "eval": {"every_epochs": every_epochs, "every_steps": every_steps}}, examples
    )


def evaluations(plan):
    steps = [0]
    while steps[-1] < plan.total_steps:
        steps.append(plan.next_evaluation(steps[-1]))
    return steps[1:]


def test_epochs_are_whole_passes_and_a_part_of_a_step_counts_as_one():
    plan = make(256)
    assert (plan.total_steps, plan.steps_per_epoch, evaluations(plan)) == (24, 8.0, [8, 16, 24])
    plan = make(11_274, batch_size=64, epochs=30.0)
    assert (plan.total_steps, plan.steps_per_epoch) == (5285, 176.15625)
    assert evaluations(plan)[:3] == [177, 353, 529]
    assert len(evaluations(plan)) == 30
    assert make(100, epochs=0.01).total_steps == 1


def test_steps_take_the_place_of_epochs():
    plan = make(256, steps=10, every_steps=4)
    assert (plan.total_steps, evaluations(plan)) == (10, [4, 8, 10])
    assert evaluations(make(256, steps=2, every_steps=100)) == [2]


def test_there_is_no_more_than_one_evaluation_a_step():
    assert evaluations(make(64, epochs=2.0, every_epochs=0.01)) == [1, 2, 3, 4]
    assert evaluations(make(20, epochs=3.0)) == [1, 2]


@pytest.mark.parametrize("every", ["1", "0.5", "0.3", "2.5", "0.1"])
@pytest.mark.parametrize(("examples", "batch_size"), [(256, 32), (11_274, 64), (1000, 48), (10_000, 96), (134, 7)])
def test_evaluations_are_the_first_steps_after_each_part_of_an_epoch(examples, batch_size, every):
    plan = make(examples, batch_size, epochs=4.0, every_epochs=float(every))
    exact = max(Fraction(every) * Fraction(examples, batch_size), Fraction(1))
    total = math.ceil(Fraction(4 * examples, batch_size))
    expected = {min(math.ceil(number * exact), total) for number in range(1, math.ceil(total / exact) + 1)}
    assert plan.total_steps == total
    assert evaluations(plan) == sorted(expected)


@pytest.mark.parametrize("steps_per_call", [1, 3, 25, 1000])
@pytest.mark.parametrize("every", [1.0, 0.37])
def test_from_wherever_a_run_goes_on_it_stops_at_the_same_evaluations(steps_per_call, every):
    plan = make(1000, 48, every_epochs=every, steps_per_call=steps_per_call)
    expected = evaluations(plan)
    for start in range(plan.total_steps):
        step, seen = start, []
        while step < plan.total_steps:
            stop = plan.next_stop(step)
            assert step < stop <= step + steps_per_call
            step = stop
            seen += [step] if step in expected else []
        assert seen == [step for step in expected if step > start]
