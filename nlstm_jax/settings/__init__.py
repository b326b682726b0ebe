"""Settings: the default, the bounds and the meaning of every setting of an experiment, in one table.

Configurations are made from the table and checked against it, and their documentation is written from it. The settings
of a cell are the cell's own options (`cells.build.cell_options`).
"""

from nlstm_jax.settings.common import COMMON
from nlstm_jax.settings.page import describe
from nlstm_jax.settings.setting import Setting
from nlstm_jax.settings.table import (
    TRACED_HPARAMS,
    check,
    compile_key,
    defaults,
    explain_invalid_value,
    explain_unknown_setting,
    with_defaults,
)
from nlstm_jax.settings.tasks import (
    TASKS,
    Metric,
    Question,
    UnitBySetting,
    describe_metrics,
    describe_question,
    find_metric,
    find_task,
)

__all__ = [
    "COMMON",
    "TASKS",
    "TRACED_HPARAMS",
    "Metric",
    "Question",
    "Setting",
    "UnitBySetting",
    "check",
    "compile_key",
    "defaults",
    "describe",
    "describe_metrics",
    "describe_question",
    "explain_invalid_value",
    "explain_unknown_setting",
    "find_metric",
    "find_task",
    "with_defaults",
]
