"""A configuration as plain values, with some of them changed."""

import json
from typing import Any

from ml_collections import ConfigDict


def changed(config: ConfigDict, **settings: Any) -> dict[str, Any]:
    """`changed(config, train__steps=3)`."""
    plain = json.loads(config.to_json())
    for name, value in settings.items():
        section, key = name.split("__")
        plain[section][key] = value
    return plain
