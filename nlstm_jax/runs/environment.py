"""The software, code and hardware of a run, recorded so that the run can be reproduced."""

import json
import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from nlstm_jax.runs.files import JsonObject

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "nlstm_jax")
_GIT_TIMEOUT = 20
"""Seconds that a git command may take."""

SHARED = "NLSTM_JAX_SHARED_SLOT"
"""The environment variable that is set for a process that shares its cores or its GPU with other processes.

The measured seconds of such a process also depend on the other processes.
"""

SNAPSHOT = "snapshot.json"
"""The file beside code that was copied out of its checkout.

It holds the commit and the uncommitted diff that `describe_environment` reported in that checkout.
"""


def describe_environment(devices: list[str], data: JsonObject, processes: int = 1) -> JsonObject:
    """Return the command line, versions, git commit, uncommitted diff, devices and facts about the data.

    Args:
        devices: The kind of each device, e.g. `["cpu", "cpu"]`.
        data: The facts that the task reports about its data: name, checksums, and the generator's own log-loss if
            there is one.
        processes: The number of processes that these devices belong to.
    """
    code = _read_snapshot() or _describe_checkout()
    device_kind = devices[0] if devices else None
    return {
        "command": shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]]),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version(name) for name in _PACKAGES},
        "commit": code["commit"],
        "uncommitted_diff": code["uncommitted_diff"],
        "devices": {"kind": device_kind, "count": len(devices), "processes": processes},
        "alone": SHARED not in os.environ,
        "data": data,
    }


def version(package: str) -> str | None:
    """Return the version of a package, or None if the package is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _read_snapshot() -> JsonObject | None:
    """Read the commit and the uncommitted diff of copied code. Returns None if this code is not a copy."""
    path = _ROOT / SNAPSHOT
    if not path.exists():
        return None
    snapshot: JsonObject = json.loads(path.read_text("utf-8"))
    return snapshot


def _describe_checkout() -> dict[str, str | None]:
    """Return the commit and the uncommitted diff of the checkout. Both are None outside of a checkout."""
    commit = _run_git("rev-parse", "HEAD")
    return {
        "commit": commit.strip() if commit else None,
        "uncommitted_diff": _run_git("diff", "--binary", "HEAD"),
    }


def _run_git(*arguments: str) -> str | None:
    """Run git in the checkout of this code and return its output.

    Returns None outside of a checkout, if git is not installed, or if the command fails or takes too long.
    """
    if not (_ROOT / ".git").exists():
        return None
    try:
        result = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, timeout=_GIT_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if result.returncode != 0:
        return None
    return result.stdout.decode("utf-8", errors="backslashreplace")
