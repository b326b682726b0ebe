"""Peak memory of the designs of `suite_v1`, each in a process of its own that trains 100 steps.

    NLSTM_JAX_DATA=data python -m benchmarks.suite_memory --tasks=sales --out=docs/results/suite_v1/memory.json

The measure is the maximum resident set size, see docs/results/suite_v1/protocol.md, with the settings of the first
draw. `experiments.answer` reads the file. Needs Linux.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from configs.sweeps.suite_v1.designs import DESIGNS, JUDGING_SEEDS, add_draw
from configs.sweeps.suite_v1.report import SPEC, SUITES
from nlstm_jax.runs import describe_environment
from nlstm_jax.sweeps import TrialCollector
from nlstm_jax.training import fit

STEPS = 100


def peak_memory(task: str, design: str) -> float:
    """Train one design in this process, and return its maximum resident set size in MiB."""
    suite = SUITES[task]
    collector = TrialCollector(task)
    chosen = {design: DESIGNS[design]}
    suite = suite._replace(settings={**suite.settings, "train.steps": STEPS})
    add_draw(collector.add, suite, 0, JUDGING_SEEDS[0], suite.full_epochs, chosen)
    with TemporaryDirectory() as folder:
        fit(dict(collector.trials[0].config), Path(folder) / "run")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_process(task: str, design: str) -> float:
    """Measure one design in a fresh process. See `peak_memory`."""
    command = [sys.executable, "-m", "benchmarks.suite_memory", f"--entry={task},{design}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure the named tasks, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="", help="separated by commas; empty: all")
    parser.add_argument("--out", type=Path, help="the JSON file; entries of other tasks are kept")
    parser.add_argument("--entry", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.entry:
        print(peak_memory(*arguments.entry.split(",")))
        return
    if arguments.out is None:
        parser.error("--out: a file expected, found none")
    out = arguments.out
    document = json.loads(out.read_text("utf-8")) if out.exists() else {}
    for task in SPEC.choose([name for name in arguments.tasks.split(",") if name]):
        peaks = {design: round(in_process(task.name, design), 1) for design in DESIGNS}
        document[task.name] = {**peaks, "commit": describe_environment([], {})["commit"]}
        print(task.name, peaks, flush=True)
    out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
