"""How deep a cell's step lies below `fit`: what a reader has to go through from the command to the equations."""

import functools
import sys
from pathlib import Path

import pytest
from rich.console import Console

import nlstm_jax
from configs import poems
from nlstm_jax.cells import LSTM, lstm
from nlstm_jax.training import fit

PACKAGE = str(Path(nlstm_jax.__file__).parent)


def package_frames() -> list[tuple[str, str]]:
    """Return (file, function) of the frames of this package, from the caller's caller up to `fit`."""
    frames = []
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(PACKAGE):
            frames.append((file, frame.f_code.co_qualname))
        if frames and frames[-1][1] == "fit":
            return frames
        frame = frame.f_back
    return []


class TrainingStepTracedError(Exception):
    """The training step has been traced as far as a cell's step; nothing needs to be compiled."""


def test_a_step_lies_at_most_20_frames_in_11_files_below_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack: list[tuple[str, str]] = []
    original_step = LSTM.step

    @functools.wraps(original_step)
    def step(*args, **kwargs):
        frames = package_frames()
        if any(function == "CompiledSteps._train" for _, function in frames):
            stack.extend([(lstm.__file__, "LSTM.step"), *frames])
            raise TrainingStepTracedError
        return original_step(*args, **kwargs)

    monkeypatch.setattr(LSTM, "step", step)
    with pytest.raises(TrainingStepTracedError):
        fit(poems.get_config("cell=lstm,smoke"), tmp_path / "run", console=Console(quiet=True))

    assert stack[-1] == (str(Path(PACKAGE) / "training" / "fit.py"), "fit")
    assert len(stack) <= 20, stack
    assert len({file for file, _ in stack}) <= 11, stack
