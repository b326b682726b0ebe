"""What has changed in the environment of a run between two starts, if the run goes on all the same."""

from collections.abc import Mapping
from typing import Any

from nlstm_jax.types import Config


def explain_environment(recorded: Mapping[str, Any], current: Mapping[str, Any], config: Config) -> list[str]:
    """Return a line about changed code and versions, and one about changed devices.

    With `config.train.shards` above 1 the devices change no bit, so that there is no line about them.

    Args:
        recorded: The document `environment.json` of the start before; empty if there is none.
        current: The document of this start.
        config: The configuration of the run.
    """
    lines = []
    changes = _changed_versions(recorded, current)
    if changes:
        lines.append(f"going on with {', '.join(changes)}")
    before = recorded.get("devices")
    now = current["devices"]
    if before and before != now and config["train"]["shards"] == 1:
        lines.append(f"going on with devices {_describe(now)}, begun with {_describe(before)}: last digits can differ")
    return lines


def _changed_versions(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Return what differs: the version of each package, and the commit or the changes to it."""
    changes = []
    for name, version in recorded.get("versions", {}).items():
        now = current["versions"].get(name)
        if now != version:
            changes.append(f"{name} {now}, begun with {version}")
    commit = recorded.get("commit")
    if commit and commit != current["commit"]:
        changes.append(f"commit {str(current['commit'])[:7]}, begun with {commit[:7]}")
    elif commit and recorded.get("uncommitted_diff") != current["uncommitted_diff"]:
        changes.append(f"other uncommitted changes to commit {commit[:7]} than it was begun with")
    return changes


def _describe(devices: Mapping[str, Any]) -> str:
    return f"{devices.get('count')} × {devices.get('kind')}"
