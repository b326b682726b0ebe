"""The comparison as a Markdown page to keep: picture, verdict, table, and where the runs come from."""

from collections.abc import Sequence

from nlstm_jax.analysis.comparison import Comparison
from nlstm_jax.analysis.curves import Group
from nlstm_jax.analysis.table import Row, markdown
from nlstm_jax.analysis.verdict import verdict


def report(comparison: Comparison, rows: Sequence[Row], metric: str) -> str:
    """The page; it names the picture `compare.png` beside it."""
    labels = " · ".join(group.label for group in comparison.groups)
    parts = [
        "Written by `python -m experiments.compare`.",
        f"![{metric} of {labels}](compare.png)",
        markdown(rows, metric).rstrip(),
        verdict(comparison, metric),
        *comparison.remarks,
        "| group | seeds | commit | device | versions |\n| --- | --- | --- | --- | --- |\n"
        + "\n".join(map(_provenance, comparison.groups)),
    ]
    return "\n\n".join(parts) + "\n"


def _provenance(group: Group) -> str:
    """A group's seeds and environments; what its runs do not agree on is listed."""
    seeds = ", ".join(sorted({str(run.config.get("seeds", {}).get("init", "?")) for run in group.runs}))
    environments = [run.environment for run in group.runs]
    commits = {_commit(environment) for environment in environments}
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
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _commit(environment: dict) -> str:
    commit = environment.get("commit")
    if not commit:
        return "–"
    return commit[:10] + (" with uncommitted changes" if environment.get("uncommitted_diff") else "")
