import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlstm_jax.errors import CheckpointError
from nlstm_jax.training.checkpoint import Checkpoints
from nlstm_jax.training.steps import TrainState


def state(step, width=3):
    parameters = {"cell/w": jnp.full((2, width), float(step)), "head/b": jnp.arange(4.0)}
    return TrainState(jnp.int32(step), parameters, (jnp.ones(2) * step, {"cell/w": jnp.zeros((2, width))}))


def save(folder, *metrics):
    """Checkpoints of the steps 10, 20, … with these metrics; all that is left is returned."""
    with Checkpoints(folder) as checkpoints:
        for number, metric in enumerate(metrics, start=1):
            checkpoints.save(10 * number, state(10 * number), metric)
        return checkpoints.steps


@pytest.mark.parametrize(
    ("metrics", "kept"),
    [
        ((3.0, 2.0, 2.5, 2.25), [20, 40]),
        ((3.0, 2.0, 1.0), [30]),
        ((2.0, 2.0, 2.0), [10, 30]),
        ((2.0, 3.0, None), [10, 30]),
        ((None, None, None), [30]),
    ],
)
def test_the_best_and_the_last_are_kept(tmp_path, metrics, kept):
    assert save(tmp_path / "checkpoints", *metrics) == kept
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [str(step) for step in kept]
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.steps == kept


def test_a_state_comes_back_bit_for_bit(tmp_path):
    save(tmp_path, 1.0)
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        found = checkpoints.restore(10, jax.tree.map(jnp.zeros_like, state(10)))
    assert jax.tree.structure(found) == jax.tree.structure(state(10))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(state(10)), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_a_best_step_from_before_an_interruption_is_still_known_after_it(tmp_path):
    save(tmp_path, 1.0, 2.0)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(30, state(30), 1.5)
        assert checkpoints.steps == [10, 30]
        checkpoints.save(40, state(40), 0.5)
        assert checkpoints.steps == [40]


def test_what_a_crash_left_half_written_is_no_checkpoint(tmp_path):
    save(tmp_path, 1.0)
    half = tmp_path / "20.orbax-checkpoint-tmp-1234567"
    shutil.copytree(tmp_path / "10", half)
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.steps == [10]
    assert half.exists()
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps == [10]
        checkpoints.save(20, state(20), 0.5)
        assert checkpoints.steps == [20]
    assert [path.name for path in tmp_path.iterdir()] == ["20"]


def test_a_step_without_a_checkpoint_is_named_with_those_there_are(tmp_path):
    save(tmp_path / "some", 1.0, 2.0)
    with Checkpoints(tmp_path / "some") as checkpoints, pytest.raises(CheckpointError) as caught:
        checkpoints.restore(30, state(30))
    assert str(caught.value) == f"{tmp_path / 'some'}: a checkpoint of step 30 expected, found [10, 20]"
    (tmp_path / "none").mkdir()
    with Checkpoints(tmp_path / "none") as checkpoints, pytest.raises(CheckpointError, match=r"found none$"):
        checkpoints.restore(30, state(30))


def test_another_models_checkpoint_is_told_by_the_parameter_that_differs(tmp_path):
    save(tmp_path, 1.0)
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(CheckpointError) as caught:
            checkpoints.restore(10, state(10, width=5))
        assert "of shape (2, 5) expected, found (2, 3)" in str(caught.value)
        assert "cell/w" in str(caught.value)
        more = state(10)
        more.parameters["cell/extra"] = jnp.ones(7)
        with pytest.raises(CheckpointError, match=r"cell/extra of shape \(7,\) expected, found None"):
            checkpoints.restore(10, more)


@pytest.mark.parametrize("content", [b"", b"{", b"{}"])
def test_a_checkpoint_that_is_damaged_cannot_be_read(tmp_path, content):
    save(tmp_path, 1.0)
    (tmp_path / "10" / "default" / "_METADATA").write_bytes(content)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(CheckpointError) as caught:
        checkpoints.restore(10, state(10))
    assert str(caught.value).startswith(f"{tmp_path}: checkpoint 10 cannot be read: ")
    assert "\n" not in str(caught.value)


def test_checkpoints_whose_files_are_damaged_are_told(tmp_path):
    with Checkpoints(tmp_path / "some") as checkpoints:
        checkpoints.save(10, state(10), 1.0)
    for file in (tmp_path / "some").rglob("*"):
        if file.is_file():
            file.write_bytes(b"\x89\xff\x00")
    with pytest.raises(CheckpointError, match="found what cannot be read"):
        Checkpoints(tmp_path / "some", read_only=True)
