"""The comparison as a Markdown page to keep, with picture, verdict, table and the origin of the runs."""

from collections.abc import Mapping, Sequence

from nlstm_jax.analysis.comparison import Comparison, code_lines
from nlstm_jax.analysis.curves import Group
from nlstm_jax.analysis.facts import UNKNOWN, commit_of
from nlstm_jax.analysis.rows import Row
from nlstm_jax.analysis.table import markdown, markdown_text
from nlstm_jax.analysis.verdict import verdict
from nlstm_jax.runs import read_notes


def report(facets: Mapping[str, Comparison], rows: Sequence[Row], metric: str, judged: Sequence[str] = ()) -> str:
    """Return the page of one comparison without a title, or of several with titles.

    The page shows the picture `compare.png` in the same folder. `judged` are the verdicts with a margin.
    """
    groups = [group for comparison in facets.values() for group in comparison.groups]
    labels = dict.fromkeys(group.label for group in groups)
    provenance = dict.fromkeys(_provenance(group) for group in groups)
    description = f"{metric} of {' · '.join(labels)}"

    lines = []
    for title, comparison in facets.items():
        for line in (verdict(comparison, metric), *comparison.remarks):
            lines.append(f"{title}: {line}" if title else line)

    lines += judged
    parts = [
        *(f"**{markdown_text(line)}**" for line in code_lines(facets)),
        "Written by `python -m experiments.compare`.",
        f"![{markdown_text(description)}](compare.png)",
        markdown(rows, metric).rstrip(),
        *dict.fromkeys(map(markdown_text, lines)),
        "| group | seeds | commit | device | versions |\n| --- | --- | --- | --- | --- |\n" + "\n".join(provenance),
    ]
    notes = [line for group in groups for line in _notes(group)]
    if notes:
        parts.append("\n".join(notes))
    return "\n\n".join(parts) + "\n"


def _provenance(group: Group) -> str:
    """Return a table row with the seeds and the environments of a group. All values are listed that its runs have."""
    seeds = {str(run.config.get("seeds", {}).get("init", "?")) for run in group.runs}
    commits = {commit_of(run) for run in group.runs} - {UNKNOWN}
    devices = set()
    versions = set()
    for run in group.runs:
        device = run.environment.get("devices")
        if device:
            devices.add(f"{device.get('count')} × {device.get('kind')}")
        packages = run.environment.get("versions")
        if packages is not None:
            versions.add(", ".join(f"{name} {packages[name]}" for name in packages if name in ("jax", "flax")))

    cells = [group.label, ", ".join(sorted(seeds))]
    cells += [", ".join(sorted(values)) or "–" for values in (commits, devices, versions)]
    return "| " + " | ".join(map(markdown_text, cells)) + " |"


def _notes(group: Group) -> list[str]:
    """Return a line for each run that has a note or tags."""
    lines = []
    for run in group.runs:
        notes = read_notes(run.path)
        text = "; ".join(filter(None, [", ".join(notes.tags), notes.text]))
        if text:
            lines.append(markdown_text(f"- {run.path.name}: {text}"))
    return lines
