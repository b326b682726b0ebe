"""The documentation page of all settings."""

from nlstm_jax.cells.build import FACTORIES, cell_options
from nlstm_jax.settings.common import COMMON
from nlstm_jax.settings.tasks import TASKS, find_task


def describe() -> str:
    """Return the page of all settings in Markdown."""
    lines = [
        "# Settings",
        "",
        "Written by `python -m nlstm_jax.settings > docs/settings.md`. Each is changed by `--config.NAME=VALUE`; a "
        "config file may set other defaults than these. A default in brackets takes several values too, "
        "`--config.cell.zoneout=0.1,0.2`: *by level* is one for each level of nesting, outermost first.",
    ]

    tables = {"Common to all tasks": COMMON}
    for task in TASKS:
        tables[task] = dict(find_task(task).settings)
    for title, settings in tables.items():
        lines += [
            "",
            f"## {title.capitalize()}",
            "",
            "| name | default | accepted | meaning |",
            "| --- | --- | --- | --- |",
        ]
        for name, setting in settings.items():
            lines.append(f"| `{name}` | `{setting.default!r}` | {setting.bounds} | {setting.meaning} |")

    lines += ["", "## Cells", "", "Options of each cell, as `cell.NAME`; the cells' docstrings say what they do.", ""]
    lines += ["| cell | options and defaults |", "| --- | --- |"]
    for cell in FACTORIES:
        options = ", ".join(f"`{name}={default!r}`" for name, (default, _) in cell_options(cell).items())
        lines.append(f"| `{cell}` | {options} |")
    return "\n".join(lines) + "\n"
