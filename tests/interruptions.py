"""A Ctrl-C in the middle of training, for tests of what comes after."""

import os
import signal

import pytest

from nlstm_jax.training.logger import RunLogger


def interrupt_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this process SIGINT once, when the bar moves for the first time; `monkeypatch.undo()` ends it."""
    advance, sent = RunLogger.update_progress, []

    def advance_and_interrupt(*arguments):
        advance(*arguments)
        if not sent:
            sent.append(os.kill(os.getpid(), signal.SIGINT))

    monkeypatch.setattr(RunLogger, "update_progress", advance_and_interrupt)
