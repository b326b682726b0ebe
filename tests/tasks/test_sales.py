import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from requirements import real_data, requires

from nlstm_jax.data.generators.shop_world import ShopWorld, shop_world_history
from nlstm_jax.data.sales import SalesHistory, TestPairs, read_sales
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.settings import defaults
from nlstm_jax.tasks.base import eval_batches
from nlstm_jax.tasks.sales import SalesTask
from nlstm_jax.tasks.sums import WeightedSum

OPTIONS = {"protocol": "honest", "window": 4, "origins": 1, "clip": 20, "price": False, "scale": "raw"}
RNG = np.random.default_rng(1)


def history(counts, prices=None, test=((0, 0), (9, 9), (1, 1))) -> SalesHistory:
    """Return a history in which pair n is shop n and item n."""
    counts = np.asarray(counts, np.float32)
    prices = np.zeros_like(counts) if prices is None else np.asarray(prices, np.float32)
    ids = np.arange(len(counts), dtype=np.int32)
    pairs = None
    if test:
        ids_of_test = np.asarray(test, np.int32)
        pairs = TestPairs(np.arange(len(test), dtype=np.int32), ids_of_test[:, 0], ids_of_test[:, 1])
    return SalesHistory(ids, ids, counts, prices, rows=int(counts.size), test=pairs)


def everything(windows) -> tuple[np.ndarray, np.ndarray]:
    """Return all inputs [N, T, C] and targets [N] of a split."""
    batch = windows.gather(jnp.arange(windows.size))
    return np.moveaxis(np.asarray(batch.inputs), 1, 0), np.asarray(batch.targets)


def slowly(counts, prices, window, targets, price, scale) -> tuple[list, list]:
    """Make the windows of clipped counts, one number at a time."""
    inputs = []
    counts_after = []
    for pair in range(len(counts)):
        for month in targets:
            rows = []
            for past in range(month - window, month):
                count = min(max(float(counts[pair][past]), 0.0), 20.0)
                row = [np.log(1 + count) if scale == "log1p" else count]
                if price:
                    row.append(np.log10(1 + max(float(prices[pair][past]), 0.0)))
                rows.append(row)
            inputs.append(rows)
            counts_after.append(min(max(float(counts[pair][month]), 0.0), 20.0))
    return inputs, counts_after


@pytest.mark.parametrize("scale", ["raw", "log1p"])
@pytest.mark.parametrize("price", [False, True])
@pytest.mark.parametrize("origins", [1, 3])
def test_windows_are_those_of_a_slow_construction(scale, price, origins):
    counts, prices = RNG.integers(-3, 30, (5, 12)), RNG.uniform(0, 5000, (5, 12))
    options = {**OPTIONS, "scale": scale, "price": price, "origins": origins}
    task = SalesTask(history(counts, prices), options, "mse")
    assert task.model_dims == {"channels": 1 + price, "outputs": 1}
    months = {"train": range(4, 11 - origins), "valid": range(11 - origins, 11), "test": [11]}
    for split, targets in months.items():
        expected_inputs, expected_targets = slowly(counts, prices, 4, targets, price, scale)
        inputs, counts_after = everything(task.splits[split])
        np.testing.assert_allclose(inputs, expected_inputs, rtol=1e-6)
        np.testing.assert_array_equal(counts_after, np.asarray(expected_targets, np.float32))


@pytest.mark.parametrize("origins", [pytest.param(1, marks=pytest.mark.slow), 4])
@pytest.mark.parametrize("window", [1, 5])
def test_no_later_month_gets_into_an_earlier_split(origins, window):
    months = np.tile(np.arange(12.0), (3, 1))
    options = {**OPTIONS, "window": window, "origins": origins, "price": True}
    # Each month's count is its own number, and so is its price channel.
    task = SalesTask(history(months, 10**months - 1), options, "mse")
    inputs, targets = everything(task.splits["train"])
    assert max(inputs[..., 0].max(), targets.max()) < 11 - origins
    assert inputs[..., 1].max() < 11 - origins + 1e-3
    assert inputs.min() > -1e-3
    inputs, targets = everything(task.splits["valid"])
    assert sorted(set(targets.tolist())) == list(range(11 - origins, 11))
    assert max(inputs[..., 0].max(), targets.max()) < 11
    assert inputs[..., 1].max() < 11
    inputs, targets = everything(task.splits["test"])
    assert set(targets.tolist()) == {11.0}
    assert inputs[..., 0].max() == 10
    for split in task.splits.values():
        inputs, targets = everything(split)
        np.testing.assert_array_equal(inputs[:, -1, 0], targets - 1)


def test_the_notebook_trains_on_the_raw_last_month_of_the_pairs_asked_for():
    counts = [[1, 2, 30, -4, 5], [6, 7, 8, 9, -2]]
    task = SalesTask(history(counts), {**OPTIONS, "protocol": "notebook", "window": 2}, "mse")
    assert set(task.splits) == {"train"}
    inputs, targets = everything(task.splits["train"])
    assert inputs[..., 0].tolist() == [[1, 2, 30, -4], [0, 0, 0, 0], [6, 7, 8, 9]]
    assert targets.tolist() == [5, 0, -2]
    logged = SalesTask(history(counts), {**OPTIONS, "protocol": "notebook", "scale": "log1p"}, "mse")
    inputs, _ = everything(logged.splits["train"])
    np.testing.assert_allclose(inputs[0, :, 0], np.log1p([1, 2, 30, 0]), rtol=1e-6)


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("honest", [[2, 20, 0], [0, 0, 0], [7, 8, 9]]),
        ("notebook", [[2, 30, -4], [0, 0, 0], [7, 8, 9]]),
    ],
)
def test_questions_are_the_months_before_the_unknown_one_in_the_order_asked(protocol, expected):
    counts = [[1, 2, 30, -4], [6, 7, 8, 9]]
    options = {**OPTIONS, "protocol": protocol, "window": 3, "price": True}
    if protocol == "honest":
        counts = [[5, 5, *row] for row in counts]
    task = SalesTask(history(counts, 10 ** np.asarray(counts, float).clip(0, 20) - 1), options, "mse")
    queries, has_history = task.queries()
    assert has_history.tolist() == [True, False, True]
    assert queries.size == 3
    inputs, _ = everything(queries)
    assert inputs[..., 0].tolist() == expected
    np.testing.assert_allclose(inputs[1], 0)
    np.testing.assert_allclose(inputs[2, :, 1], [7, 8, 9], rtol=1e-5)


def test_a_window_that_the_history_is_too_short_for_is_refused():
    counts = np.zeros((2, 12))
    SalesTask(history(counts), {**OPTIONS, "window": 8, "origins": 2}, "mse")
    with pytest.raises(ConfigError) as caught:
        SalesTask(history(counts), {**OPTIONS, "window": 9, "origins": 2}, "mse")
    assert str(caught.value) == (
        "config.data.window=9 and config.data.origins=2: at most 8 months read expected, as the data end with month "
        "11 (counted from 0), 2 of them validate and one tests"
    )


@pytest.mark.parametrize("clip", [5, 20, 0])
def test_counts_are_cut_at_the_setting_and_the_log_says_how_many(clip):
    counts = RNG.integers(-3, 40, (5, 12))
    task = SalesTask(history(counts), {**OPTIONS, "clip": clip}, "mse")
    _, targets = everything(task.splits["test"])
    expected = counts.clip(0, clip) if clip else counts
    np.testing.assert_array_equal(targets, expected[:, -1])
    cut = [line for line in task.log_lines if "config.data.clip" in line]
    told = (
        f"of 60 monthly counts {(counts > clip).sum()} above {clip} are read as {clip} and {(counts < 0).sum()} below "
        "0 as 0 (config.data.clip)"
    )
    assert cut == ([told] if clip else [])
    np.testing.assert_array_equal(task.predict(lambda inputs, key=None: 1e6 + 0 * inputs[-1]), [clip or 1e6] * 3)


def test_runs_that_cut_elsewhere_answer_another_question():
    assert "data.clip" in SalesTask.question.settings


@pytest.mark.parametrize(("months", "length"), [(15, 12), (14, 2), (5, 2)])
def test_ridge_reads_what_the_networks_read_where_the_data_are_short(months, length):
    """What training accepts, the baselines accept."""
    requires("sklearn")
    counts = RNG.integers(0, 9, (4, months))
    errors = SalesTask(history(counts), {**OPTIONS, "window": 2}, "mse").baselines("valid")
    assert f"ridge on the last {length} months" in errors
    expected = np.square(np.minimum(counts[:, -2], 20)).mean()
    assert errors["always zero"]["mse"] == pytest.approx(expected)


def test_what_does_not_go_together_is_refused():
    without_prices = dataclasses.replace(history(np.zeros((2, 12))), has_prices=False)
    SalesTask(without_prices, OPTIONS, "mse")
    with pytest.raises(
        DataError, match=r"^config\.data\.price=True: a column item_price of sales_train\.csv expected"
    ):
        SalesTask(without_prices, {**OPTIONS, "price": True}, "mse")
    with pytest.raises(
        ConfigError, match=r"config\.data\.clip above 0 expected, as the data have a monthly count of -1"
    ):
        SalesTask(history(np.full((2, 12), -1)), {**OPTIONS, "clip": 0}, "negative_binomial")
    with pytest.raises(ConfigError) as caught:
        SalesTask(history(np.zeros((2, 5))), {**OPTIONS, "protocol": "notebook"}, "negative_binomial")
    assert str(caught.value) == (
        "config.model.likelihood=negative_binomial: mse or gaussian expected with config.data.protocol=notebook, "
        "whose targets are raw and may be negative"
    )
    without = history(np.zeros((2, 8)), test=())
    with pytest.raises(DataError, match=r"^sales: test\.csv expected, as its pairs are asked for; "):
        SalesTask(without, {**OPTIONS, "protocol": "notebook"}, "mse")
    with pytest.raises(DataError, match=r"^sales: test\.csv expected"):
        SalesTask(without, OPTIONS, "mse").queries()


def measured(task, model, batch_size) -> dict:
    """Return the report of the task on all its splits."""
    totals = {}
    for split, examples in task.splits.items():
        sums: dict[str, list] = {}
        for indices, weight in zip(*eval_batches(examples.size, batch_size), strict=True):
            batch = examples.gather(jnp.asarray(indices))
            for name, mean in task.measure(model, batch, jnp.asarray(weight)).items():
                sums.setdefault(name, []).append([float(mean.sum), float(mean.weight)])
        totals[split] = {name: WeightedSum(*np.sum(parts, axis=0)) for name, parts in sums.items()}
    return task.report(totals)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_metrics_are_those_of_numpy_over_the_whole_split(batch_size):
    counts = RNG.integers(-3, 40, (6, 12))
    task = SalesTask(history(counts), OPTIONS, "mse")

    def model(inputs, *, key=None):
        return 3 * inputs[-1] - 10

    reports = measured(task, model, batch_size)
    clipped = counts.clip(0, 20).astype(float)
    train_errors = (3 * clipped[:, 3:9] - 10 - clipped[:, 4:10]) ** 2
    for split, months in (("train", slice(3, 9)), ("valid", slice(9, 10)), ("test", slice(10, 11))):
        forecast, truth = 3 * clipped[:, months] - 10, clipped[:, months.start + 1 : months.stop + 1]
        mse = ((forecast - truth) ** 2).mean()
        variance = train_errors.mean()
        expected = {
            "log_loss": 0.5 * np.log(2 * np.pi * variance) + mse / (2 * variance),
            "mse": mse,
            "rmse_clipped": np.sqrt(((forecast.clip(0, 20) - truth) ** 2).mean()),
        }
        assert set(reports[split]) == {metric.name for metric in task.metrics}
        for name, value in expected.items():
            assert abs(reports[split][name] / value - 1) < 1e-5


def test_a_likelihood_reports_its_own_log_loss():
    task = SalesTask(history(RNG.integers(0, 9, (4, 8))), OPTIONS, "negative_binomial")
    assert task.model_dims == {"channels": 1, "outputs": 2}

    def model(inputs, *, key=None):
        return jnp.concatenate([inputs[-1], inputs[-1] - 2], axis=-1)

    reports = measured(task, model, 3)
    for split, examples in task.splits.items():
        batch = examples.gather(jnp.arange(examples.size))
        loss = task.loss(model, batch, None)
        assert float(loss.weight) == examples.size
        assert abs(float(loss.sum) / examples.size - reports[split]["log_loss"]) < 1e-5
        # The bootstrap over examples takes the sum with the name of a metric.
        log_loss = task.measure(model, batch, jnp.ones(examples.size))["log_loss"]
        assert abs(float(log_loss.sum / log_loss.weight) - reports[split]["log_loss"]) < 1e-5


def test_a_generated_world_is_its_own_checksum():
    data = {**defaults("sales", "lstm").data.to_dict(), "rows": 2000}
    task, again, other = (
        SalesTask.from_config({"data": d, "model": {"likelihood": "mse"}}) for d in (data, data, {**data, "seed": 1})
    )
    assert task.metadata == again.metadata
    assert task.metadata["checksums"] != other.metadata["checksums"]
    assert set(task.splits) == {"train", "valid", "test"}
    assert task.splits["train"].months == 33 - 1 - 24
    assert task.splits["valid"].size == task.splits["test"].size == len(task.history.counts)


def test_taking_is_part_of_a_compiled_step():
    task = SalesTask(shop_world_history(ShopWorld(rows=1000)), {**OPTIONS, "window": 24}, "mse")
    windows, indices = task.splits["train"], jnp.asarray([5, 0, 77])
    compiled = jax.jit(lambda windows, indices: windows.gather(indices))(windows, indices)
    np.testing.assert_array_equal(compiled.inputs, windows.gather(indices).inputs)
    assert compiled.inputs.shape == (24, 3, 1)


@pytest.fixture(scope="module")
def subset(tmp_path_factory):
    return read_sales(real_data("sales/sales_train.csv").parent)


def test_the_notebooks_table_of_the_real_subset(subset):
    task = SalesTask(subset, {**OPTIONS, "protocol": "notebook"}, "mse")
    train = task.splits["train"]
    assert (train.size, train.window) == (214_200, 32)
    batch = train.gather(jnp.arange(0, 214_200, 51))
    assert batch.inputs.shape == (32, 4200, 1)
    queries, has_history = task.queries()
    assert queries.size == 214_200
    assert has_history.sum() == 4_351
    strangers = jnp.asarray(np.flatnonzero(~has_history)[:1000])
    assert not np.asarray(train.gather(strangers).inputs).any()


def test_the_baselines_of_the_real_subset_are_the_disclosed_ones(subset):
    task = SalesTask(subset, OPTIONS, "mse")
    baselines = {
        "zero": (lambda inputs: 0 * inputs[-1], 4.538, 4.484),
        "repeated": (lambda inputs: inputs[-1], 2.798, 3.271),
    }
    for name, (model, valid, test) in baselines.items():
        reports = measured(task, lambda inputs, key=None, model=model: model(inputs), 4440)
        assert task.splits["valid"].size == 4_440
        assert round(reports["valid"]["rmse_clipped"], 3) == valid, name
        assert round(reports["test"]["rmse_clipped"], 3) == test, name
