"""Settings: the default, the bounds and the meaning of every setting of an experiment, in one table.

Configurations are made from the table and checked against it, and their documentation is written from it. The settings
of a cell are the cell's own options (`cells.build.cell_options`).

>>> config = defaults("poems", "lstm").to_dict()
>>> check(config)
>>> with_defaults(config) == config, describe().startswith("# Settings")
(True, True)
>>> explain_invalid_value("model.dropout_output", 2.0, config)
'config.model.dropout_output: a finite number ≥ 0 and < 1 expected, found 2.0'
>>> explain_unknown_setting("learning_rate", config)
'config.learning_rate: no such setting; did you mean config.optimizer.learning_rate?'
>>> find_metric(config, "log_loss").unit, describe_metrics(config)["log_loss"]["higher_is_better"]
('nats per target', False)
>>> find_task("poems").question.version == describe_question(config, checksums={})["version"]
True
>>> "optimizer.learning_rate" in compile_key(config), "cell.features" in compile_key(config)
(False, True)
>>> TRACED_HPARAMS
('learning_rate', 'clip_norm', 'weight_decay', 'epsilon')
>>> COMMON["cell.features"].default, TASKS["poems"]
(256, 'nlstm_jax.tasks.poems:PoemTask')
>>> UnitBySetting("data.unit", {"words": "nats per word", "characters": "nats per character"}).units["words"]
'nats per word'
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
