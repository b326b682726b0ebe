"""Timing of implementations side by side, in one process, in interleaved rounds, on the same inputs."""

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
import numpy as np

from nlstm_jax.runs.environment import describe_environment, version
from nlstm_jax.types import Float

_PEERS = ("torch", "keras", "dm-haiku")
"""The packages of other implementations, whose versions are recorded."""


class Ratio(NamedTuple):
    """A median of ratios with its 95 % bootstrap interval.

    Attributes:
        median: The median over the rounds.
        low: The lower end of the interval.
        high: The upper end of the interval.
    """

    median: float
    low: float
    high: float


PAUSE = 0.02
"""The seconds of rest before every measurement."""

Item = TypeVar("Item")


def interleaved(
    implementations: Mapping[str, Callable[[], object]], seconds: float, rounds: int
) -> dict[str, Float[np.ndarray, "rounds"]]:
    """Time every implementation once per round and return the seconds of all rounds.

    A pause comes before every measurement, and each round begins with another implementation. Threads of OpenMP keep
    a core busy for some milliseconds after their work, which would slow down whatever always follows PyTorch.

    Args:
        implementations: The functions by name. Each returns when its work is done.
        seconds: The time after which no further round begins. There are at least 5 rounds.
        rounds: The maximum number of rounds.
    """
    for run in implementations.values():
        # Two calls before the measurement, for compilation and for caches.
        run()
        run()
    times: dict[str, list[float]] = {name: [] for name in implementations}
    end = time.perf_counter() + seconds
    for index in range(rounds):
        if index >= 5 and time.perf_counter() > end:
            break
        for name, run in _rotated(list(implementations.items()), index):
            time.sleep(PAUSE)
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in times.items()}


def _rotated(items: list[Item], by: int) -> list[Item]:
    """Return the items, beginning with another one for each number."""
    first = by % len(items)
    return items[first:] + items[:first]


def ratio(ours: Float[np.ndarray, "rounds"], peers: Float[np.ndarray, "rounds"], seed: int = 0) -> Ratio:
    """Return the ratio of our time to a peer's time, taken round by round.

    >>> ratio(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
    Ratio(median=0.5, low=0.5, high=0.5)
    """
    ratios = ours / peers
    draws = np.random.default_rng(seed).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return Ratio(float(np.median(ratios)), float(low), float(high))


def format_ratio(ratio: Ratio) -> str:
    """Return a ratio as text with its interval in brackets.

    >>> format_ratio(Ratio(0.5, 0.25, 0.75))
    '0.50 [0.25, 0.75]'
    """
    return f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def compiled_megabytes(program: jax.stages.Compiled) -> float:
    """Return the memory of a compiled program in MB: arguments, results and temporary buffers."""
    memory = program.memory_analysis()
    assert memory is not None
    parts = memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes
    return float((sum(parts) - memory.alias_size_in_bytes) / 1e6)


def finish(module: str, table: list[str], out: Path | None) -> None:
    """Print a table, and write it to a file together with the command and the machine.

    Args:
        module: The module that was run.
        table: The lines of the table.
        out: The file. None to print only.
    """
    print("\n".join(table))
    if out is not None:
        out.write_text("\n".join([*heading(module, machine_description()), *table, ""]), "utf-8")


def heading(module: str, machine: Mapping[str, str]) -> list[str]:
    """Return the first lines of a page of results: the command, the machine and the versions."""
    return [
        f"Written by `{' '.join([f'python -m {module}', *sys.argv[1:]])}`.",
        "",
        ", ".join(f"{name} {value}" for name, value in machine.items()) + ".",
        "All implementations ran in one process, in which freed memory is kept (`nlstm_jax.process.tune_malloc`).",
        "",
    ]


def machine_description() -> dict[str, str]:
    """Return the machine, the versions of the packages that are installed, the commit and the date."""
    environment = describe_environment([], {})
    description = {
        "machine": f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {environment['platform']}",
        "python": environment["python"],
    }
    versions = environment["versions"] | {name: version(name) for name in _PEERS}
    for name, installed in versions.items():
        if installed is not None:
            description[name] = installed
    description["commit"] = environment["commit"] or "unknown"
    if environment["uncommitted_diff"]:
        description["commit"] += " with changes"
    description["date"] = time.strftime("%Y-%m-%d")
    return description


def _processor() -> str:
    """Return the name of the processor."""
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                if name:
                    return name
                break
    return platform.processor() or "unknown processor"
