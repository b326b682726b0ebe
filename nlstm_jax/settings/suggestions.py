"""The setting that an unknown name most likely means."""

import difflib
from collections.abc import Sequence

_OTHER_NAMES = {
    "lr": "learning_rate",
    "bs": "batch_size",
    "units": "features",
    "hidden_size": "features",
    "num_layers": "layers",
    "wd": "weight_decay",
    "grad_clip": "clip_norm",
    "early_stopping": "patience",
}
"""What other libraries call some settings."""


def similar_setting(key: str, known: Sequence[str]) -> str | None:
    """Return the known setting that an unknown one most likely means.

    The same name in another section comes first, then a name that begins with the unknown one, then a similar one.

    Args:
        key: The dotted name of the unknown setting.
        known: The dotted names of all settings.

    Returns:
        The dotted name of a setting, or None if none is similar.

    >>> known = ["optimizer.name", "optimizer.learning_rate", "train.batch_size", "model.dropout_input"]
    >>> [similar_setting(key, known) for key in ("optimizer.lr", "learning_rate", "batch", "model.dropout")]
    ['optimizer.learning_rate', 'optimizer.learning_rate', 'train.batch_size', 'model.dropout_input']
    """
    section, _, name = key.rpartition(".")
    name = _OTHER_NAMES.get(name, name)
    # Settings of the same section come first.
    candidates = sorted(known, key=lambda candidate: candidate.rpartition(".")[0] != section)
    names = [candidate.rpartition(".")[2] for candidate in candidates]
    same_name = [candidate for candidate in names if candidate == name]
    same_beginning = [candidate for candidate in names if candidate.startswith(name)]
    similar = same_name or same_beginning or difflib.get_close_matches(name, names, n=1)
    return candidates[names.index(similar[0])] if similar else None
