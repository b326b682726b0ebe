import os
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlstm_jax.errors import CheckpointError, DamagedCheckpointError, StorageError
from nlstm_jax.training.checkpoint import Checkpoints
from nlstm_jax.training.manifest import Manifest, describe_leaf
from nlstm_jax.training.steps import TrainState


def state(step, width=3):
    parameters = {"cell/w": jnp.full((2, width), float(step)), "head/b": jnp.arange(4.0)}
    return TrainState(jnp.int32(step), parameters, (jnp.ones(2) * step, {"cell/w": jnp.zeros((2, width))}))


def assert_same(tree, other_tree):
    """Compare structures, dtypes and values, bit for bit."""
    assert jax.tree.structure(tree) == jax.tree.structure(other_tree)
    for one, other in zip(jax.tree.leaves(tree), jax.tree.leaves(other_tree), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def save(folder, *metrics):
    """Checkpoints of the steps 10, 20, … with these metrics; all that is left is returned."""
    with Checkpoints(folder) as checkpoints:
        for number, metric in enumerate(metrics, start=1):
            checkpoints.save(10 * number, state(10 * number), metric)
        return checkpoints.steps


@pytest.mark.parametrize(
    ("metrics", "kept"),
    [
        ((3.0, 2.0, 2.5, 2.25), [20, 30, 40]),
        ((3.0, 2.0, 1.0), [20, 30]),
        ((1.0, 2.0, 3.0, 0.5), [10, 30, 40]),
        ((2.0, 2.0, 2.0, 2.0), [10, 30, 40]),
        ((2.0, 3.0, 3.0, None), [10, 30, 40]),
        ((None, None, None), [20, 30]),
    ],
)
def test_the_last_the_one_before_and_the_best_of_the_earlier_ones_are_kept(tmp_path, metrics, kept):
    assert save(tmp_path / "checkpoints", *metrics) == kept
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"manifests.json", *map(str, kept)}
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.steps == kept


def test_a_state_comes_back_bit_for_bit(tmp_path):
    save(tmp_path, 1.0)
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert_same(checkpoints.restore(10, jax.tree.map(jnp.zeros_like, state(10))), state(10))


def test_a_best_step_from_before_an_interruption_is_still_known_after_it(tmp_path):
    save(tmp_path, 1.0, 2.0)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(30, state(30), 1.5)
        assert checkpoints.steps == [10, 20, 30]
        checkpoints.save(40, state(40), 0.5)
        assert checkpoints.steps == [10, 30, 40]


@pytest.mark.parametrize("name", ["saving-20", "deleting-20", "20.orbax-checkpoint-tmp-1234567"])
def test_what_a_crash_left_half_written_is_no_checkpoint(tmp_path, name):
    save(tmp_path, 1.0)
    half = tmp_path / name
    shutil.copytree(tmp_path / "10", half)
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert checkpoints.steps == [10]
    assert half.exists()
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps == [10]
        assert not half.exists()
        checkpoints.save(20, state(20), 0.5)
        assert checkpoints.steps == [10, 20]


def test_a_checkpoint_whose_deletion_a_crash_stopped_is_no_checkpoint(tmp_path, monkeypatch):
    def stop(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", stop)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, 3.0, 2.0, 1.0)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps == [20, 30]


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


def data_files(folder):
    """Return all files of a checkpoint."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip_a_bit, cut, empty, Path.unlink])
def test_every_damaged_file_is_noticed_and_the_one_before_is_taken(tmp_path, damage, capfd):
    save(tmp_path / "whole", 3.0, 2.0)
    files = data_files(tmp_path / "whole" / "20")
    assert len(files) > 8
    for number, file in enumerate(files):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", folder)
        damage(folder / file.relative_to(tmp_path / "whole"))
        with Checkpoints(folder, read_only=True) as checkpoints, pytest.raises(DamagedCheckpointError) as caught:
            checkpoints.restore(20, state(20))
        assert str(caught.value).startswith(f"{folder / '20'}: the checkpoint is damaged: ")
        with Checkpoints(folder) as checkpoints:
            step, restored, notes = checkpoints.restore_newest(jax.tree.map(jnp.zeros_like, state(10)), [])
            assert checkpoints.steps == [10]
        assert step == 10
        assert_same(restored, state(10))
        assert notes == [f"{caught.value}; it is kept as set_aside-20"]
        assert "\n" not in notes[0]
        assert (folder / "set_aside-20").is_dir()
    assert capfd.readouterr().err == ""


def test_a_changed_array_is_noticed_although_its_file_is_as_it_was_written(tmp_path):
    save(tmp_path, 1.0)
    manifest = Manifest.read(tmp_path / "10")
    leaves = {**manifest.leaves, "parameters.head/b": describe_leaf(jnp.arange(1.0, 5.0))}
    replace(manifest, leaves=leaves).write(tmp_path / "10")
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(DamagedCheckpointError) as caught:
        checkpoints.restore(10, state(10))
    assert str(caught.value).endswith("10: the checkpoint is damaged: parameters.head/b is not as it was saved")


def test_one_line_says_that_no_whole_checkpoint_is_left_also_the_next_time(tmp_path):
    save(tmp_path, 3.0, 2.0)
    for step in ("10", "20"):
        flip_a_bit(tmp_path / step / "default" / "_METADATA")
    for _ in range(2):
        with Checkpoints(tmp_path) as checkpoints:
            with pytest.raises(CheckpointError, match="set_aside-20") as caught:
                checkpoints.restore_newest(state(0), [])
            assert checkpoints.steps == []
        assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"manifests.json", "set_aside-10", "set_aside-20"}


def test_nothing_that_was_set_aside_is_ever_overwritten(tmp_path):
    for _ in range(2):
        save(tmp_path, 3.0, 2.0)
        flip_a_bit(tmp_path / "20" / "default" / "_METADATA")
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.restore_newest(state(0), [])
    assert {path.name for path in tmp_path.glob("set_aside*")} == {"set_aside-20", "set_aside-20-2"}


def test_a_checkpoint_of_another_run_or_step_is_not_taken(tmp_path):
    save(tmp_path / "one", 1.0)
    save(tmp_path / "other", 1.0, 2.0)
    shutil.copytree(tmp_path / "other" / "20", tmp_path / "one" / "20")
    with Checkpoints(tmp_path / "one") as checkpoints, pytest.raises(DamagedCheckpointError) as caught:
        checkpoints.restore(20, state(20))
    assert str(caught.value).endswith("after step 20 expected, found one of another run after step 20")
    shutil.copytree(tmp_path / "one" / "10", tmp_path / "one" / "30")
    with Checkpoints(tmp_path / "one") as checkpoints, pytest.raises(DamagedCheckpointError, match="this run after"):
        checkpoints.restore(30, state(30))


def test_an_older_run_without_manifests_is_taken_with_one_line(tmp_path):
    save(tmp_path, 1.0)
    (tmp_path / "manifests.json").unlink()
    (tmp_path / "10" / "manifest.json").unlink()
    metrics = tmp_path / "10" / "metrics" / "metrics"
    metrics.parent.mkdir()
    metrics.write_text('{"metric": 0.25}')
    with Checkpoints(tmp_path) as checkpoints:
        step, restored, notes = checkpoints.restore_newest(jax.tree.map(jnp.zeros_like, state(10)), [])
        assert step == 10
        assert_same(restored, state(10))
        assert notes == [f"{tmp_path / '10'}: an older checkpoint, without a manifest; its arrays are not verified"]
        for step in (20, 30, 40):
            checkpoints.save(step, state(step), 1.0)
        assert checkpoints.steps == [10, 30, 40]
        # From the first manifest on a checkpoint without one is damaged.
        (tmp_path / "30" / "manifest.json").unlink()
        with pytest.raises(DamagedCheckpointError, match="a file expected"):
            checkpoints.restore(30, state(30))


@pytest.mark.parametrize("content", [b"", b"{", b"{}"])
def test_an_older_checkpoint_that_is_damaged_cannot_be_read(tmp_path, content):
    save(tmp_path, 1.0)
    (tmp_path / "manifests.json").unlink()
    (tmp_path / "10" / "manifest.json").unlink()
    (tmp_path / "10" / "default" / "_METADATA").write_bytes(content)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(DamagedCheckpointError) as caught:
        checkpoints.restore(10, state(10))
    assert str(caught.value).startswith(f"{tmp_path / '10'}: the checkpoint cannot be read: ")
    assert "\n" not in str(caught.value)


def test_a_run_goes_on_from_the_newest_checkpoint_whose_lines_are_there(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        for number in (1, 2, 3):
            checkpoints.save(10 * number, state(10 * number), None if number < 2 else 1.0, rows=2 * number)
        assert checkpoints.restore_newest(state(0), [10, 10, 20, 20, 30, 30]).step == 30
        step, restored, notes = checkpoints.restore_newest(state(0), [10, 10, 20, 20, 30])
        assert step == 20
        assert_same(restored, state(20))
        assert notes == [f"{tmp_path / '30'}: its lines of metrics are missing; it is kept as set_aside-30"]
        assert checkpoints.steps == [20]
        step, _, notes = checkpoints.restore_newest(state(0), [10])
        assert step == 20
        assert notes == ["metrics.jsonl: the lines of all evaluations until step 20 expected, 3 are missing"]


def test_all_of_a_checkpoint_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    events = []

    def sync(descriptor):
        events.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    def rename(path, target):
        events.append(f"{path} to {target}")
        os.replace(path, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", rename)
    save(tmp_path, 1.0)
    partial = tmp_path / "saving-10"
    named = events.index(f"{partial} to {tmp_path / '10'}")
    below = list((tmp_path / "10").rglob("*"))
    expected = {str(partial / path.relative_to(tmp_path / "10")) for path in below}
    assert expected | {str(partial)} <= set(events[:named])
    assert str(tmp_path) in events[named:]


def test_the_name_of_a_checkpoint_that_is_set_aside_is_on_the_disk(tmp_path, monkeypatch):
    save(tmp_path, 3.0, 2.0)
    flip_a_bit(tmp_path / "20" / "default" / "_METADATA")
    with Checkpoints(tmp_path) as checkpoints:
        synced = []
        monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.readlink(f"/proc/self/fd/{number}")))
        assert checkpoints.restore_newest(jax.tree.map(jnp.zeros_like, state(10)), []).step == 10
    assert synced == [str(tmp_path)]


def test_a_full_disk_is_one_line_and_the_earlier_checkpoints_stay(tmp_path, monkeypatch):
    def fail(*arguments, **keywords):
        raise ValueError("RESOURCE_EXHAUSTED: Error writing\nNo space left on device")

    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(10, state(10), 1.0)
        with monkeypatch.context() as patch:
            patch.setattr(checkpoints._orbax, "save", fail)
            with pytest.raises(StorageError) as caught:
                checkpoints.save(20, state(20), 0.5)
        assert str(caught.value).startswith(f"{tmp_path / '20'}: cannot be written: RESOURCE_EXHAUSTED")
        assert "\n" not in str(caught.value)
        assert checkpoints.steps == [10]
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(20, state(20), 0.5)
        assert checkpoints.steps == [10, 20]
