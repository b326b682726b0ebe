import functools
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import poems
from nlstm_jax import models, tasks
from nlstm_jax.errors import ConfigError
from nlstm_jax.tasks.base import ShuffledSampler
from nlstm_jax.training import fit
from nlstm_jax.training.optimizer import OptimizerFactory, traced_hparams
from nlstm_jax.training.parallel import make_mesh, replicate
from nlstm_jax.training.schedule import TrainingSchedule
from nlstm_jax.training.shards import add_in_pairs, map_shards
from nlstm_jax.training.steps import CompiledSteps

STEPS = 12


@functools.cache
def trained(devices, shards, dropout=0.5, runs=0):
    """What twelve steps of the smoke configuration leave, and its sums over the validation split, as flat arrays."""
    config = json.loads(poems.get_config("cell=nlstm,depth=2,smoke").to_json())
    config["model"] |= {"dropout_input": dropout, "dropout_output": dropout}
    task = tasks.build(config)
    size = task.splits["train"].size
    mesh = make_mesh({}, jax.devices()[:devices])
    rule = OptimizerFactory.from_config(config, TrainingSchedule.from_config(config, size))
    model, numbers = models.build(config, task.model_dims), traced_hparams(config)
    program = CompiledSteps.from_model(model, task, rule, mesh, runs, shards)
    state = program.stack_runs([program.init_state(model, numbers)] * (runs or 1))
    examples = {split: replicate(task.splits[split], mesh) for split in ("train", "valid")}
    batches = ShuffledSampler(config["seeds"]["data"], size, 32).batches(0, STEPS)
    batches = np.stack([batches] * runs, axis=1) if runs else batches
    numbers = program.stack_runs([numbers] * (runs or 1))
    state, report = program.train(state, numbers, examples["train"], batches, STEPS)
    sums = program.eval_sums(state.parameters, examples["valid"], 16)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(program.unstack_runs((state, report))[-1])] + jax.tree.leaves(
        sums[-1]
    )


@pytest.fixture(scope="module")
def on_devices(run_code, tmp_path_factory):
    """`on_devices(**arguments)` is `trained` in a process that has four devices."""

    def on_devices(**arguments):
        out = tmp_path_factory.mktemp("devices") / "leaves.npz"
        run_code(ON_DEVICES, json.dumps(arguments), out, sys.modules["nlstm_jax.unroll.dispatch"].AUTO)
        with np.load(out) as leaves:
            return [leaves[name] for name in leaves.files]

    return on_devices


ON_DEVICES = """
import json, sys
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 4)
sys.path[:0] = ["tests", "tests/training"]
from test_shards import trained
sys.modules["nlstm_jax.unroll.dispatch"].AUTO = sys.argv[3]
np.savez(sys.argv[2], *trained(**json.loads(sys.argv[1])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("devices", [4, 2])
def test_the_number_of_devices_changes_no_bit(on_devices, devices):
    for found, expected in zip(on_devices(devices=devices, shards=4), trained(devices=1, shards=4), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("arguments", "reference"),
    [
        # Two devices take one run each, of which every batch has four shards.
        pytest.param({"devices": 2, "shards": 4, "runs": 2}, {"devices": 1, "shards": 4}, marks=pytest.mark.slow),
        # They share the batches of three runs in one program, which XLA rounds as it likes (JAX 0.12; not 0.9.2).
        pytest.param({"devices": 2, "shards": 4, "runs": 3}, {"devices": 1, "shards": 4}, marks=pytest.mark.slow),
        pytest.param({"devices": 4, "shards": 1}, {"devices": 1, "shards": 1}, marks=pytest.mark.slow),
    ],
)
def test_devices_that_round_otherwise_are_close(on_devices, arguments, reference):
    for found, expected in zip(on_devices(**arguments), trained(**reference), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


def test_shards_have_the_whole_batch_s_gradient():
    """Without noise, which every shard draws for itself."""
    for found, expected in zip(
        trained(devices=1, shards=4, dropout=0.0), trained(devices=1, shards=1, dropout=0.0), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


def test_every_shard_draws_its_own_noise():
    config = json.loads(poems.get_config("smoke").to_json())
    config["model"]["dropout_input"] = 0.5
    task = tasks.build(config)
    model, numbers, examples = models.build(config, task.model_dims), traced_hparams(config), task.splits["train"]
    key = jax.random.fold_in(jax.random.key(config["seeds"]["dropout"]), 0)
    first, second = (
        task.loss(model, examples.gather(jnp.arange(4)), jax.random.fold_in(key, shard)) for shard in (0, 1)
    )
    assert first.sum != second.sum
    program = CompiledSteps.from_model(
        model,
        task,
        OptimizerFactory.from_config(config, TrainingSchedule.from_config(config, 8)),
        make_mesh({}),
        shards=2,
    )
    twice = np.tile(np.arange(4), (1, 2))
    _, report = program.train(program.init_state(model, numbers), numbers, examples, twice, 1)
    assert report.loss == pytest.approx(float((first.sum + second.sum) / (first.weight + second.weight)), rel=1e-6)


def test_sums_are_of_neighbours():
    """In float32 2²⁴ + 1 is 2²⁴ again, but not 2²⁴ + (1 + 1)."""
    big = 2.0**24
    assert add_in_pairs(jnp.array([big, 1.0, 1.0, 1.0])) == big + 2
    assert add_in_pairs(jnp.array([1.0, 1.0, big, 1.0])) == big + 2
    assert add_in_pairs({"a": jnp.ones((1, 3))})["a"].tolist() == [1.0, 1.0, 1.0]


def test_shards_are_computed_one_by_one():
    """What eight shards of an eighth need is less than what all needs at once."""

    def total(w, x):
        return jnp.square(jnp.tanh(jnp.tanh(x @ w) @ w.T)).sum()

    weight = jax.random.normal(jax.random.key(0), (64, 4096))
    rows = jax.random.normal(jax.random.key(1), (512, 64))
    apart = map_shards(total, weight, (rows.reshape(8, 64, 64),), None)
    np.testing.assert_allclose(apart.sum(), total(weight, rows), rtol=1e-4)
    sizes = [
        jax.jit(lambda weight, parts: map_shards(jax.grad(total), weight, (parts,), None))
        .lower(weight, jax.ShapeDtypeStruct((shards, 512 // shards, 64), jnp.float32))
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for shards in (1, 8)
    ]
    assert sizes[1] < sizes[0] / 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shards": 3}, r"config\.train\.shards: a power of 2 expected, found 3"),
        ({"shards": 64}, r"config\.train\.batch_size: a multiple of config\.train\.shards=64 expected, found 32"),
    ],
)
def test_batches_that_have_no_such_parts_are_refused(tmp_path: Path, changed, message):
    config = poems.get_config("smoke")
    config.train.update(changed)
    with pytest.raises(ConfigError, match=message):
        fit(config, tmp_path / "run")
    assert not list(tmp_path.iterdir())
