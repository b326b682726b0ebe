"""The command, run by `make faults`: `PYTHONPATH=tests:. python -m faults --help`."""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rich.console import Console
from rich.progress import Progress

from faults import changes, damage, inputs, kills, searches, suites
from faults.cases import Bench, Case, spread
from faults.report import ROWS, page

SAMPLE = {1: 3, 2: 2, 3: 6, 4: 1, 5: 3, 6: 2, 7: 1, 8: 3, 10: 1, 12: 10, 13: 3}
"""The number of cases of each row in a sample; other rows are in the slow tests."""


def main() -> None:
    """Run the cases that have no result yet, and write the page after each row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", action="store_true", help="a fixed sample of a few minutes; no page is written")
    parser.add_argument("--rows", default="", help="the numbers of rows, with commas between them; all if not given")
    parser.add_argument("--work", type=Path, default=Path(".faults"), help="the folder of the results so far")
    parser.add_argument("--out", type=Path, default=Path("docs/results/reliability.md"), help="the page")
    parser.add_argument("--seconds", type=float, default=7200, help="no further case is begun after this time")
    parser.add_argument("--retry", action="store_true", help="run the cases again that were not as expected")
    options = parser.parse_args()

    work = (options.work / ("sample" if options.sample else "whole")).resolve()
    work.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("NLSTM_JAX_CACHE", str(work / "cache"))
    cases = kills.cases() + damage.cases() + suites.cases() + changes.cases() + searches.cases()
    cases += inputs.cases(options.sample)
    cases.sort(key=lambda case: case.row)
    if options.sample:
        cases = [case for row, count in SAMPLE.items() for case in spread([c for c in cases if c.row == row], count)]
    file = work / "results.jsonl"
    results = _read(file, retry=options.retry)

    console = Console()
    until = time.monotonic() + options.seconds
    bench = Bench(work)
    chosen = {int(row) for row in options.rows.split(",") if row} or {*ROWS, suites.TAKEN_OUT}
    pending = [c for c in cases if c.row in chosen and not c.left_out and (c.row, c.name) not in results]
    try:
        with Progress(console=console, disable=not console.is_terminal) as progress:
            for case in progress.track(pending, description="cases"):
                if time.monotonic() > until:
                    break
                result = _run(case, bench)
                results[case.row, case.name] = result
                with file.open("a", encoding="utf-8") as output:
                    output.write(json.dumps(result, ensure_ascii=False) + "\n")
                mark = "" if result["ok"] else "NOT AS EXPECTED: "
                text = f"row {case.row}, {case.name}: {mark}{result['seen']} ({result['seconds']} s)"
                console.print(text, highlight=False, soft_wrap=True, markup=False)
    finally:
        bench.close()
        if not options.sample:
            options.out.write_text(page(cases, results, "make faults"), "utf-8")
    sys.exit(any(not result["ok"] for result in results.values()))


def _read(file: Path, *, retry: bool) -> dict[tuple[int, str], dict]:
    """Return the results of earlier calls; a last line that was cut off is left out."""
    results = {}
    for line in file.read_text("utf-8").split("\n")[:-1] if file.exists() else []:
        result = json.loads(line)
        results[result["row"], result["case"]] = result
    return {key: result for key, result in results.items() if result["ok"] or not retry}


def _run(case: Case, bench: Bench) -> dict:
    """Run a case in a new folder, which is deleted if all is as expected."""
    folder = bench.work / "cases" / f"{case.row} {case.name}".replace(" ", "_").replace("/", "_").replace("'", "")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    started = time.monotonic()
    try:
        seen = case.check(bench, folder)
        is_expected = True
    except (AssertionError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        seen = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        is_expected = False
    seconds = round(time.monotonic() - started, 2)
    if is_expected:
        shutil.rmtree(folder, ignore_errors=True)
    return {"row": case.row, "case": case.name, "ok": is_expected, "seen": seen, "seconds": seconds}


if __name__ == "__main__":
    main()
