"""Timing implementations side by side: in one process, in interleaved rounds, on one set of inputs."""

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nlstm_jax.runs.environment import describe_environment, version

_PEERS = ("torch", "keras", "dm-haiku")


class Ratio(NamedTuple):
    """A median of rounds' ratios, with a 95 % bootstrap interval."""

    median: float
    low: float
    high: float


def interleaved(
    implementations: Mapping[str, Callable[[], Any]], seconds: float, rounds: int
) -> dict[str, np.ndarray]:
    """The seconds that each contestant took in every round.

    Args:
        implementations: by name, functions that return when all is done.
        seconds: about as long, but never fewer than 5 rounds.
        rounds: at most so many.
    """
    for contestant in implementations.values():
        contestant()
        contestant()
    taken: dict[str, list[float]] = {name: [] for name in implementations}
    end = time.perf_counter() + seconds
    for index in range(rounds):
        if index >= 5 and time.perf_counter() > end:
            break
        for name, contestant in implementations.items():
            start = time.perf_counter()
            contestant()
            taken[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in taken.items()}


def ratio(ours: np.ndarray, peers: np.ndarray, seed: int = 0) -> Ratio:
    """How many times the peer's time ours is, round by round.

    >>> ratio(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
    Ratio(median=0.5, low=0.5, high=0.5)
    """
    each = ours / peers
    draws = np.random.default_rng(seed).choice(each, (2000, len(each)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return Ratio(float(np.median(each)), float(low), float(high))


def compiled_megabytes(program: Any) -> float:
    """The memory that a compiled program has: arguments, results and what lies between, in MB."""
    memory = program.memory_analysis()
    parts = memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes
    return (sum(parts) - memory.alias_size_in_bytes) / 1e6


def finish(module: str, table: list[str], out: Path | None) -> None:
    """Print a table, and write it to a file with what it was measured by and on."""
    print("\n".join(table))
    if out is not None:
        out.write_text("\n".join([*heading(module, machine_description()), *table, ""]), "utf-8")


def heading(module: str, where: Mapping[str, str]) -> list[str]:
    """What a page of results begins with."""
    return [
        f"Written by `{' '.join([f'python -m {module}', *sys.argv[1:]])}`.",
        "",
        ", ".join(f"{name} {value}" for name, value in where.items()) + ".",
        "All implementations ran in one process, in which freed memory is kept (`nlstm_jax.process.tune_malloc`).",
        "",
    ]


def machine_description() -> dict[str, str]:
    """The machine, the versions of all packages and the commit."""
    environment = describe_environment([], {})
    versions = environment["versions"] | {name: version(name) for name in _PEERS}
    changed = " with changes" if environment["uncommitted_diff"] else ""
    return {
        "machine": f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {environment['platform']}",
        "python": environment["python"],
        **{name: found for name, found in versions.items() if found is not None},
        "commit": (environment["commit"] or "unknown") + changed,
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names and names[0] else platform.processor() or "unknown processor"
