"""The software, code and hardware of a run, recorded so that the run can be reproduced."""

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from nlstm_jax.types import JsonObject

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "nlstm_jax")
_GIT_TIMEOUT = 20
"""Seconds that a git command may take."""
_DIFF = (
    "diff",
    "--binary",
    "--full-index",
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--unified=3",
    "HEAD",
)
"""A diff that `git apply` takes, whatever the user's configuration of git says."""
_SOURCES = (".py", ".toml", ".cfg")
_MAX_BYTES = 100_000
"""The size up to which a source file that git does not track is part of the diff."""

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

    `git apply` makes the code that was run out of the commit and the diff, which includes small source files that git
    does not track. Where there is no commit or no diff, `git_error` has the reason.

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
        "git_error": code.get("git_error"),
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
    """Return the commit and the uncommitted diff of the checkout, or the reason why there are none."""
    commit = None
    try:
        if not (_ROOT / ".git").exists():
            raise _GitError(f"{_ROOT} is not a git checkout")
        commit = _run_git("rev-parse", "HEAD").decode().strip()
        return {"commit": commit, "uncommitted_diff": _uncommitted_diff(), "git_error": None}
    except (_GitError, OSError) as error:
        return {"commit": commit, "uncommitted_diff": None, "git_error": str(error)}


class _GitError(Exception):
    """A git command that cannot be run, fails or takes too long."""


def _uncommitted_diff() -> str:
    """Return the difference between the files and the commit, including small source files that are not tracked."""
    with tempfile.TemporaryDirectory() as folder:
        # Git is given a copy of its index, in which the untracked files are about to be added.
        index = Path(folder) / "index"
        original = _ROOT / os.fsdecode(_run_git("rev-parse", "--git-path", "index").rstrip(b"\n"))
        if original.exists():
            shutil.copyfile(original, index)
        untracked = _untracked_sources()
        if untracked:
            _run_git("add", "--intent-to-add", "--", *untracked, index=index)
        diff = _run_git(*_DIFF, index=index)
        try:
            return diff.decode("utf-8")
        except UnicodeDecodeError:
            # JSON holds no other bytes; as a binary patch they are ASCII.
            attributes = Path(folder) / "attributes"
            attributes.write_text("* -diff\n", encoding="utf-8")
            binary_diff = _run_git("-c", f"core.attributesFile={attributes}", *_DIFF, index=index)
            return binary_diff.decode("utf-8", errors="backslashreplace")


def _untracked_sources() -> list[str]:
    """Return the paths of small source files that git neither tracks nor ignores."""
    names = _run_git("ls-files", "--others", "--exclude-standard", "-z").split(b"\0")
    paths = [os.fsdecode(name) for name in names if name]
    return [
        path
        for path in paths
        if Path(path).suffix in _SOURCES and (_ROOT / path).is_file() and (_ROOT / path).stat().st_size <= _MAX_BYTES
    ]


def _run_git(*arguments: str, index: Path | None = None) -> bytes:
    """Run git in the checkout of this code and return its output.

    Variables such as GIT_DIR, which name another repository, are not passed on.

    Args:
        arguments: The command line after `git`.
        index: The index file; None for the checkout's own.

    Raises:
        _GitError: Git is not installed, or the command fails or takes too long.
    """
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    variables |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    if index is not None:
        variables["GIT_INDEX_FILE"] = str(index)
    try:
        result = subprocess.run(
            ["git", *arguments], cwd=_ROOT, env=variables, capture_output=True, timeout=_GIT_TIMEOUT
        )
    except OSError as error:
        raise _GitError(f"git: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise _GitError(f"git {arguments[0]}: more than {_GIT_TIMEOUT} seconds") from None
    if result.returncode != 0:
        reason = result.stderr.decode("utf-8", errors="backslashreplace").strip().partition("\n")[0]
        raise _GitError(f"git {arguments[0]}: {reason}")
    return result.stdout
