"""The page of results: a table with a line for each row, the cases that were not as expected, and the protections."""

from collections import Counter
from collections.abc import Mapping, Sequence

from benchmarks.measure import machine_description
from faults.cases import Case
from faults.suites import TAKEN_OUT

ROWS = {
    1: ("SIGKILL at a random moment, restart", "equal to the undisturbed run to the bit"),
    2: ("SIGKILL while a checkpoint is written, and right after its rename", "equal to the undisturbed run"),
    3: (
        "the newest checkpoint truncated at 64 places, 256 random bits flipped, any file missing",
        "each that changes a value is detected; the one before is used and named",
    ),
    4: ("all checkpoints damaged", "exit 5, never a start from zero"),
    5: (
        "metrics cut back, torn, doubled, without newline, with NULs",
        "no hole, no step twice, or one line that says what is missing",
    ),
    6: ("disk full, folder read-only", "one line; goes on after room is made"),
    7: ("order of sync and rename; each sync taken out", "as promised; a test fails without any of them"),
    8: ("config, data, code, version, devices, loop changed between two starts", "refused, or goes on with one line"),
    9: ("a poisoned batch, all later ones, a bad gradient, NaN in the data", "stop or skip, as set, or refused"),
    10: (
        "two and ten writers on one folder, through a symlink",
        "one goes on, the others exit 6 and name its process",
    ),
    11: (
        "searches: choices changed, `suggest` raises, database gone, two workers, folder moved",
        "no hang, no repeated trial, no foreign result",
    ),
    12: ("10,000 files for each reader, half of them valid", "valid ones round-trip; only documented errors"),
    13: ("evaluate, compare and sample while a run trains", "never a wrong figure, never exit 5"),
}

_SHOWN = 8
"""The number of different observations that a row shows."""


def page(cases: Sequence[Case], results: Mapping[tuple[int, str], Mapping[str, object]], command: str) -> str:
    """Return the page.

    Args:
        cases: All cases of the whole table.
        results: The results so far, by row and name of the case.
        command: The command that the page was written by.
    """
    machine = ", ".join(f"{name} {value}" for name, value in machine_description().items())
    lines = ["# Faults", "", f"Written by `{command}`.", "", f"{machine}.", ""]
    lines += ["A case has the result of the call that ran it; calls can be of several commits.", ""]
    lines += ["| # | case | expectation | as expected | seen | seconds |", "| ---: | --- | --- | ---: | --- | ---: |"]
    for row, (name, expectation) in ROWS.items():
        of_row = [case for case in cases if case.row == row]
        done = [results[row, case.name] for case in of_row if (row, case.name) in results]
        good = [result for result in done if result["ok"]]
        seen = Counter(str(result["seen"]) for result in good)
        text = "; ".join(f"{count} × {what}" for what, count in seen.most_common(_SHOWN)) or "not run"
        if len(seen) > _SHOWN:
            text = f"{text}; {len(seen) - _SHOWN} others"
        reasons = {case.left_out for case in of_row if case.left_out}
        text = "; ".join([text, *(f"left out: {reason}" for reason in sorted(reasons))])
        seconds = sum(float(str(result["seconds"])) for result in done)
        counts = f"{len(good)} of {len(done)}"
        if len(done) < len(of_row):
            counts += f" (of {len(of_row)} cases)"
        lines.append(f"| {row} | {name} | {expectation} | {counts if done else 'not run'} | {text} | {seconds:.0f} |")

    bad = [(key, result) for key, result in results.items() if not result["ok"]]
    if bad:
        lines += ["", "Not as expected:", ""]
        lines += [f"- row {row}, {name}: {result['seen']}" for (row, name), result in bad]

    taken_out = [case for case in cases if case.row == TAKEN_OUT or case.name.startswith("taken out: ")]
    lines += ["", "## Protections taken out", "", "Each is taken out of a copy of the code, and a test fails.", ""]
    lines += ["| protection | test |", "| --- | --- |"]
    for case in taken_out:
        result = results.get((case.row, case.name), {"seen": "not run"})
        lines.append(f"| {case.name.removeprefix('taken out: ')} | {result['seen']} |")
    return "\n".join(lines) + "\n"
