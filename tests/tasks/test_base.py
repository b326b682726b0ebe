import itertools

import numpy as np
import pytest

from nlstm_jax.tasks.base import ShuffledSampler, eval_batches


@pytest.mark.parametrize(("size", "batch_size"), [(10, 3), (7, 7), (5, 12), (64, 32), (1, 4)])
def test_a_batch_depends_on_nothing_but_its_number(size, batch_size):
    order = ShuffledSampler(seed=5, size=size, batch_size=batch_size)
    batches = order.batches(0, 40)
    assert batches.shape == (40, batch_size)
    assert batches.dtype == np.int32
    for cuts in ([0, 40], [0, 1, 2, 39, 40], [0, 13, 26, 40], range(41)):
        parts = [order.batches(start, stop) for start, stop in itertools.pairwise(cuts)]
        np.testing.assert_array_equal(np.concatenate(parts), batches)
    np.testing.assert_array_equal(order.batches(17, 23), batches[17:23])


@pytest.mark.parametrize(("size", "batch_size"), [(10, 3), (7, 7), (5, 12), (64, 32)])
def test_every_example_is_seen_once_an_epoch(size, batch_size):
    indices = ShuffledSampler(seed=1, size=size, batch_size=batch_size).batches(0, 10 * size).reshape(-1)
    epochs = indices.reshape(-1, size)
    assert all(sorted(epoch) == list(range(size)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) > 1


def test_another_seed_is_another_order():
    orders = [ShuffledSampler(seed, size=100, batch_size=10).batches(0, 10) for seed in (0, 1, 2**31 - 1)]
    assert not np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])


def test_no_batches_are_an_empty_array():
    assert ShuffledSampler(seed=0, size=4, batch_size=3).batches(7, 7).shape == (0, 3)


def test_the_order_is_far_from_that_of_the_file():
    permutation = ShuffledSampler(seed=0, size=1000, batch_size=1000).batches(0, 1)[0]
    # Of a random permutation: mean |position − index| ≈ size / 3, correlation 0 ± 0.03.
    assert abs(np.corrcoef(permutation, np.arange(1000))[0, 1]) < 0.13


@pytest.mark.parametrize("size", [1, 2, 7, 64, 65])
@pytest.mark.parametrize("batch_size", [1, 3, 64, 100])
def test_in_order_covers_every_example_exactly_once(size, batch_size):
    indices, weights = eval_batches(size, batch_size)
    assert indices.shape == weights.shape == (-(-size // batch_size), batch_size)
    assert indices[weights > 0].tolist() == list(range(size))
    assert set(np.unique(weights)) <= {0.0, 1.0}
    assert weights.sum() == size
    assert ((indices >= 0) & (indices < size)).all()
    assert (indices.dtype, weights.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize(("size", "count"), [(100, 10), (100, 33), (7, 3), (5, 5), (5, 9), (11_274, 1000)])
def test_a_part_is_evenly_spread_and_holds_no_example_twice(size, count):
    indices, weights = eval_batches(size, 8, count)
    taken = indices[weights > 0]
    assert len(set(taken.tolist())) == len(taken) == min(size, count)
    gaps = np.diff([*taken, size])
    assert gaps.max() - gaps.min() <= 1
    np.testing.assert_array_equal(eval_batches(size, 3, count)[0][eval_batches(size, 3, count)[1] > 0], taken)
