"""The Ray engine with a real cluster on this machine: the devices that a job sees."""

import os
import sys
import time
from pathlib import Path

import pytest
from requirements import requires

from nlstm_jax.sweeps.engines.base import Job
from nlstm_jax.sweeps.engines.ray import RayEngine

SHOW = "import os; print({name: os.environ.get(name) for name in ('CUDA_VISIBLE_DEVICES', 'JAX_PLATFORMS')})"


@pytest.mark.slow
def test_a_job_without_gpus_sees_none_of_those_of_the_driver(tmp_path: Path, monkeypatch) -> None:
    requires("ray")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    log = tmp_path / "log.txt"
    engine = RayEngine(1, gpus=0)
    try:
        (process,) = engine.start([Job("job", [sys.executable, "-c", SHOW], tmp_path, log, {"OTHER": "1"})])
        end = time.monotonic() + 60
        while process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        engine.close()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert log.read_text("utf-8").strip() == "{'CUDA_VISIBLE_DEVICES': '', 'JAX_PLATFORMS': 'cpu'}"
