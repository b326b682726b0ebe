"""The frozen values of `suite_v1`: settings, draws, seeds, and checksums of the generated data.

    python -m configs.sweeps.suite_v1.freeze        writes frozen.json beside this file

A test compares frozen.json with what the code makes of the suite, and its checksum with one that the test states.
Results are comparable only as long as nothing of this changes. A change makes another suite, with another name.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.sweeps.suite_v1.designs import (
    DESIGNS,
    DRAW_SEED,
    FULL_SEED,
    SOLVING_SEED,
    Suite,
    add_draw,
    draws,
)
from configs.sweeps.suite_v1.report import SPEC, SUITES
from nlstm_jax import tasks
from nlstm_jax.runs import flatten
from nlstm_jax.sweeps import TrialCollector
from nlstm_jax.types import JsonObject

FROZEN = Path(__file__).with_name("frozen.json")
_FIRST_DESIGN = next(iter(DESIGNS))


def frozen_values() -> JsonObject:
    """Return what is frozen of each task, without the checksums of its data, as plain JSON values.

    `settings` has all settings of the first design's first short run, and for the other designs those that differ.
    """
    values = {}
    for task in SPEC.tasks:
        suite = SUITES[task.name]
        plan = suite._asdict()
        plan["settings"] = _without_folders(suite.settings)
        values[task.name] = {
            "report": task._asdict(),
            "runs": plan,
            "draws": draws(suite.learning_rates, suite.draw_count),
            "seeds": {"draws": DRAW_SEED, "full": FULL_SEED, "solving": SOLVING_SEED},
            "settings": _settings(suite),
        }
    plain: JsonObject = json.loads(json.dumps(values, default=dict))
    return plain


def generated_checksums() -> dict[str, dict[str, str]]:
    """Return the checksums of the generated data of each task, which are drawn for that."""
    checksums = {}
    for task in SPEC.tasks:
        if not task.data:
            config = _short_configs(SUITES[task.name])[_FIRST_DESIGN]
            checksums[task.name] = dict(tasks.build(config).metadata["checksums"])
    return checksums


def _settings(suite: Suite) -> dict[str, JsonObject]:
    """Return the settings of each design's first short run."""
    configs = {design: _without_folders(flatten(config)) for design, config in _short_configs(suite).items()}
    first = configs[_FIRST_DESIGN]
    settings = {_FIRST_DESIGN: first}
    for design, config in configs.items():
        if design != _FIRST_DESIGN:
            settings[design] = {key: value for key, value in config.items() if first.get(key, ...) != value}
    return settings


def _short_configs(suite: Suite) -> dict[str, JsonObject]:
    """Return the configurations of each design's run with the first draw."""
    collector = TrialCollector(suite.name)
    add_draw(collector.add, suite, 0, DRAW_SEED, suite.short_epochs)
    return {design: dict(trial.config) for design, trial in zip(DESIGNS, collector.trials, strict=True)}


def _without_folders(settings: Mapping[str, Any]) -> JsonObject:
    """Return settings whose path has only its last part, as the folder of the data is the user's."""
    public = dict(settings)
    if public.get("data.path"):
        public["data.path"] = Path(public["data.path"]).name
    return public


if __name__ == "__main__":
    document = {"schema": 1, "suite": SPEC.name, "tasks": frozen_values(), "generated": generated_checksums()}
    FROZEN.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
