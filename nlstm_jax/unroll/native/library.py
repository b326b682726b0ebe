"""The compiled library: built by the system's C++ compiler at first use, and kept in a cache folder."""

import ctypes
import fcntl
import functools
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import jaxlib

SOURCE = Path(__file__).with_name("loop.cc")
TARGETS = ("nlstm_jax_loop_float32", "nlstm_jax_loop_float64")
FLAGS = (
    "-std=c++17",
    "-O3",
    "-march=native",
    "-fPIC",
    "-shared",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-Wall",
    "-Wextra",
    "-Wno-psabi",
)
"""No `-ffast-math`: a NaN remains a NaN."""
COMPILE_SECONDS = 300
_PARTIAL = ".so.part"
SWITCH = "NLSTM_JAX_NATIVE"
"""The environment variable that switches the native loop off if it is 0."""


class CompilerError(ValueError):
    """There is no native loop on this machine. The message is one line with the reason."""

    def __init__(self, reason: str):
        super().__init__(f"unroll: mode='native': {reason}")
        self.reason = reason


def load_library() -> Path:
    """Compile the library if the cache folder has none for this machine, load it, and register it with JAX.

    Returns:
        The path of the library.

    Raises:
        CompilerError: The loop is switched off, the backend is no CPU, there is no compiler, it fails, or others can
            write to the folder.
    """
    _require_served()
    return _load()


def is_compiled() -> bool:
    """Return True if the library is there for this machine, so that `load_library` compiles nothing."""
    try:
        _require_served()
        path = _path(find_compiler())
        _require_private(path.parent)
        _require_private(path)
    except (CompilerError, OSError):
        return False
    return True


def is_switched_off() -> bool:
    """Return True if the environment variable `NLSTM_JAX_NATIVE` is 0."""
    return os.environ.get(SWITCH) == "0"


def _require_served() -> None:
    """Raise if the loop is switched off, or the backend is no CPU."""
    if is_switched_off():
        raise CompilerError(f"switched off by {SWITCH}=0")
    if jax.default_backend() != "cpu":
        raise CompilerError(f"a CPU expected, found the backend {jax.default_backend()}")


@functools.cache
def _load() -> Path:
    """Build, load and register the library, once a process."""
    path = build()
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise CompilerError(f"{path}: {error}") from error
    for target in TARGETS:
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(library, target)), platform="cpu")
    return path


def cache_folder() -> Path:
    """Return the folder of compiled libraries: that of `XDG_CACHE_HOME`, or `~/.cache`."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "nlstm_jax" / "native"


def find_compiler() -> str:
    """Return the C++ compiler: that of the variable `CXX`, or the first of c++, g++ and clang++.

    Raises:
        CompilerError: There is none.
    """
    named = os.environ.get("CXX")
    candidates = [named] if named else ["c++", "g++", "clang++"]
    for name in candidates:
        found = shutil.which(name)
        if found:
            return found
    raise CompilerError(f"no C++ compiler found (tried {', '.join(candidates)}; the variable CXX can name one)")


def build() -> Path:
    """Compile the library if the cache folder has none for this machine.

    Returns:
        The path of the library.

    Raises:
        CompilerError: There is no compiler, it fails, or others can write to the folder.
    """
    compiler = find_compiler()
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _require_private(folder)
        path = _path(compiler)
        with open(folder / "lock", "w") as lock:
            # A second process waits here, and then finds the library.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                _remove_partial(folder)
                _compile(compiler, path)
        _require_private(path)
    except OSError as error:
        raise CompilerError(f"{folder}: {error.strerror}") from error
    return path


def _remove_partial(folder: Path) -> None:
    """Remove what processes that were killed while they compiled have left. The caller holds the lock."""
    for partial in folder.glob(f"*{_PARTIAL}"):
        partial.unlink(missing_ok=True)


def _path(compiler: str) -> Path:
    """Return the path of the library that this compiler makes on this machine."""
    return cache_folder() / f"loop-{_key(compiler)}.so"


def _key(compiler: str) -> str:
    """Return a checksum of all that the compiled code depends on."""
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    parts = [
        SOURCE.read_text(encoding="utf-8"),
        " ".join(FLAGS),
        compiler,
        version.stdout,
        jax.__version__,
        jaxlib.__version__,
        _processor(),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


def _processor() -> str:
    """Return the kind of processor: `-march=native` depends on it."""
    described = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{described} {platform.processor()} {sys.platform}"
    flags = [line for line in lines if line.startswith(("flags", "Features"))]
    return " ".join([described, *flags[:1]])


def _compile(compiler: str, path: Path) -> None:
    """Compile to a file beside `path`, and rename it: an interrupted compiler leaves no library."""
    descriptor, name = tempfile.mkstemp(suffix=_PARTIAL, dir=path.parent)
    os.close(descriptor)
    partial = Path(name)
    command = [compiler, *FLAGS, "-isystem", jax.ffi.include_dir(), str(SOURCE), "-o", str(partial)]
    try:
        finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMPILE_SECONDS)
        if finished.returncode != 0:
            lines = [line for line in finished.stderr.splitlines() if "error" in line] or finished.stderr.splitlines()
            reason = lines[0] if lines else f"exit code {finished.returncode}"
            raise CompilerError(f"{compiler} failed: {reason}")
        partial.chmod(0o700)
        partial.rename(path)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompilerError(f"{compiler} failed: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _require_private(path: Path) -> None:
    """Raise if another user owns a file or folder, or can write to it: its code would run as this user."""
    status = path.stat()
    if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CompilerError(f"{path}: owned by or writable for other users")
