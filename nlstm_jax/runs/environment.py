"""Where and with what a run was made: enough to make it again."""

import json
import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "nlstm_jax")

SHARED = "NLSTM_JAX_SHARED_SLOT"
"""Set where a process shares its cores or its GPU with others: its seconds are then not its own."""

SNAPSHOT = "snapshot.json"
"""Lies beside code that was copied out of its checkout, and says what `describe_environment` said there."""


def describe_environment(devices: list[str], data: dict[str, Any], processes: int = 1) -> dict[str, Any]:
    """Command line, versions, git commit with the diff of uncommitted changes, devices, facts about the data.

    Args:
        devices: the kind of each device, e.g. `["cpu", "cpu"]`.
        processes: how many of them have these devices.
        data: what the task says of its data: name, checksums, the generator's own log-loss where there is one.
    """
    code = _snapshot() or {
        "commit": commit.strip() if (commit := _git("rev-parse", "HEAD")) else None,
        "uncommitted_diff": _git("diff", "--binary", "HEAD"),
    }
    return {
        "command": shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]]),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version(name) for name in _PACKAGES},
        "commit": code["commit"],
        "uncommitted_diff": code["uncommitted_diff"],
        "devices": {"kind": devices[0] if devices else None, "count": len(devices), "processes": processes},
        "alone": SHARED not in os.environ,
        "data": data,
    }


def version(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _snapshot() -> dict[str, Any] | None:
    """What is known of code that was copied."""
    return json.loads((_ROOT / SNAPSHOT).read_text("utf-8")) if (_ROOT / SNAPSHOT).exists() else None


def _git(*arguments: str) -> str | None:
    """What git says of the checkout that this code lies in; None outside of one, or without git."""
    if not (_ROOT / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", errors="backslashreplace") if done.returncode == 0 else None
