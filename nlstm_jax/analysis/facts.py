"""The facts of runs that decide which runs belong together, how a group is labeled, and what differs."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import Run, flatten, is_number
from nlstm_jax.types import JsonObject

UNKNOWN = "unknown"
"""The commit of a run that was made outside of a git checkout."""

Facts: TypeAlias = dict[str, Any]
"""The dotted keys of a run's configuration with their values, and the checksums of its data."""


def commit_of(run: Run) -> str:
    """Return the commit that a run was made at, with a note on uncommitted changes, or `UNKNOWN` without a commit."""
    commit = run.environment.get("commit")
    if not commit:
        return UNKNOWN
    short = str(commit[:10])
    if run.environment.get("uncommitted_diff"):
        return f"{short} with uncommitted changes"
    return short


def facts_of(run: Run) -> Facts:
    """Return the dotted keys of a run's configuration without its seeds, and the checksums of its data.

    The runs of a group have these in common.
    """
    facts = {key: value for key, value in flatten(run.config).items() if key.partition(".")[0] != "seeds"}
    checksums = run.environment.get("data", {}).get("checksums") or {}
    if checksums:
        facts.pop("data.path", None)
    return facts | {f"data.checksums.{name}": value for name, value in checksums.items()}


def facts_of_all(runs: Iterable[Run]) -> list[Facts]:
    """Return the facts of each run."""
    return [facts_of(run) for run in runs]


def questions_of(groups: Sequence[Sequence[Run]]) -> list[list[Facts]]:
    """Return what decides the examples that each run is evaluated on, by group.

    It is the question that the run's task has declared. If a run of an earlier version has declared none, it is the
    section `data` of all runs. The version of its question is 1.
    """
    if all(run.question for runs in groups for run in runs):
        return [[_question_facts(run.question or {}) for run in runs] for runs in groups]
    return [[_data_facts(run) for run in runs] for runs in groups]


def _data_facts(run: Run) -> Facts:
    """Return the section `data` of a run, and the version of its question."""
    version = run.question["version"] if run.question else 1
    return {"question.version": version, **section_of(facts_of(run), "data")}


def _question_facts(question: JsonObject) -> Facts:
    """Return the version, the settings and the checksums of a question."""
    checksums = {f"data.checksums.{name}": value for name, value in question["checksums"].items()}
    return {"question.version": question["version"], **question["settings"], **checksums}


def merge_facts(facts: Sequence[Facts]) -> Facts:
    """Return the facts that all runs of a group agree in, and for each other key all values as one text."""
    merged = dict(facts[0])
    for key in differing_keys(facts):
        values = {str(short_value(key, fact.get(key, "absent"))) for fact in facts}
        merged[key] = " | ".join(sorted(values))
    return merged


def section_of(facts: Facts, name: str) -> Facts:
    """Return the keys of one section of the configuration.

    `train.steps_per_call` is left out: it changes how a step is run, not what it computes.
    """
    return {key: facts[key] for key in facts if key.startswith(f"{name}.") and key != "train.steps_per_call"}


def differing_keys(facts: Sequence[Facts]) -> list[str]:
    """Return the keys whose values differ, or that only some have."""
    first = facts[0]
    differing = []
    for key in dict.fromkeys(key for fact in facts for key in fact):
        if any(key not in fact or fact[key] != first.get(key) for fact in facts):
            differing.append(key)
    return differing


def labels_of(facts: Sequence[Facts]) -> list[str]:
    """Return the name of each configuration, followed by the settings in which it differs from its namesakes."""
    by_name: dict[str, list[Facts]] = {}
    names = [str(fact.get("name") or "unnamed") for fact in facts]
    for name, fact in zip(names, facts, strict=True):
        by_name.setdefault(name, []).append(fact)

    labels = []
    for name, fact in zip(names, facts, strict=True):
        differing = [key for key in differing_keys(by_name[name]) if key in fact]
        settings = [f"{key}={short_value(key, fact[key])}" for key in differing]
        labels.append(" ".join([name, *settings]))
    return labels


def labels_by(facts: Sequence[Facts], by: Sequence[str]) -> list[str]:
    """Return the settings of each group as its label."""
    labels = []
    for fact in facts:
        settings = [f"{key}={short_value(key, value)}" for key, value in fact.items()]
        labels.append(", ".join(settings) or f"no {by[0]}")
    return labels


def check_keys(runs: Sequence[Run], keys: Sequence[str], flag: str) -> None:
    """Check that each key is a setting of at least one run.

    Raises:
        ConfigError: A key is a setting of none of the runs. The message names the first such key.
    """
    if not keys:
        return
    known = {name for run in runs for name in facts_of(run)}
    for key in keys:
        if key not in known:
            hint = suggest(key, sorted(known))
            raise ConfigError(f"{flag}={key}: a setting of these runs, such as cell.name, expected{hint}")


def suggest(name: str, known: Sequence[str], *, quoted: bool = False) -> str:
    """Return the end of an error message that suggests the known name most similar to `name`.

    Returns:
        An empty text if no known name is similar.
    """
    matches = difflib.get_close_matches(name, known, n=1)
    if not matches:
        return ""
    match = repr(matches[0]) if quoted else matches[0]
    return f"; did you mean {match}?"


def sort_key(value: object) -> tuple[bool, float, str]:
    """Return a key that sorts numbers by size, and texts after them."""
    if is_number(value):
        return (False, float(value), str(value))
    return (True, 0.0, str(value))


def short_value(key: str, value: object) -> object:
    """Return a value as a label shows it: a list without brackets, a checksum by its first eight digits."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    if key.startswith("data.checksums."):
        return str(value)[:8]
    return value
