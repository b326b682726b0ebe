"""The comparison as a Markdown page to keep: picture, verdict, table, and where the runs come from."""

from collections.abc import Mapping, Sequence

from nlstm_jax.analysis.comparison import UNKNOWN, Comparison, code_lines, commit_of
from nlstm_jax.analysis.curves import Group
from nlstm_jax.analysis.table import Row, markdown, markdown_text
from nlstm_jax.analysis.verdict import verdict
from nlstm_jax.runs import read_notes


def report(facets: Mapping[str, Comparison], rows: Sequence[Row], metric: str) -> str:
    """The page, of one comparison or of several with titles; it names the picture `compare.png` beside it."""
    all_groups = [group for comparison in facets.values() for group in comparison.groups]
    told = [
        f"{title}: {line}" if title else line
        for title, comparison in facets.items()
        for line in (verdict(comparison, metric), *comparison.remarks)
    ]
    described = f"{metric} of {' · '.join(dict.fromkeys(group.label for group in all_groups))}"
    parts = [
        *(f"**{markdown_text(line)}**" for line in code_lines(facets)),
        "Written by `python -m experiments.compare`.",
        f"![{markdown_text(described)}](compare.png)",
        markdown(rows, metric).rstrip(),
        *dict.fromkeys(map(markdown_text, told)),
        "| group | seeds | commit | device | versions |\n| --- | --- | --- | --- | --- |\n"
        + "\n".join(dict.fromkeys(_provenance(group) for group in all_groups)),
    ]
    notes = [line for group in all_groups for line in _notes(group)]
    parts += ["\n".join(notes)] if notes else []
    return "\n\n".join(parts) + "\n"


def _provenance(group: Group) -> str:
    """A group's seeds and environments; what its runs do not agree on is listed."""
    seeds = ", ".join(sorted({str(run.config.get("seeds", {}).get("init", "?")) for run in group.runs}))
    environments = [run.environment for run in group.runs]
    commits = {commit_of(run) for run in group.runs} - {UNKNOWN}
    devices = {
        f"{found.get('count')} × {found.get('kind')}"
        for environment in environments
        if (found := environment.get("devices"))
    }
    versions = {
        ", ".join(f"{name} {version}" for name, version in environment["versions"].items() if name in ("jax", "flax"))
        for environment in environments
        if "versions" in environment
    }
    cells = (group.label, seeds, *(", ".join(sorted(found)) or "–" for found in (commits, devices, versions)))
    return "| " + " | ".join(map(markdown_text, cells)) + " |"


def _notes(group: Group) -> list[str]:
    """A line for each run that has a note or tags."""
    found = [(run.path, read_notes(run.path)) for run in group.runs]
    told = [(path.name, "; ".join(filter(None, [", ".join(notes.tags), notes.text]))) for path, notes in found]
    return [markdown_text(f"- {name}: {text}") for name, text in told if text]
