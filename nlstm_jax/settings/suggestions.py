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
_OTHER_KEYS = {"seed": "seeds.init"}
"""Names without a section that mean a setting of another name: a seed is that of the training, not of its data."""


def similar_setting(key: str, known: Sequence[str]) -> str | None:
    """Return the known setting that an unknown one most likely means.

    Names that begin with the unknown one in its own section come first. The same name in another section follows, then
    another one that begins with it, then a similar one. A seed is meant only if its section is named.

    Args:
        key: The dotted name of the unknown setting.
        known: The dotted names of all settings.

    Returns:
        The dotted name of a setting, or None if none is similar.

    >>> known = ["optimizer.learning_rate", "train.batch_size", "model.dropout_input", "seeds.dropout"]
    >>> [similar_setting(key, known) for key in ("optimizer.lr", "learning_rate", "batch")]
    ['optimizer.learning_rate', 'optimizer.learning_rate', 'train.batch_size']
    >>> [similar_setting(key, known) for key in ("model.dropout", "dropout", "seeds.drop")]
    ['model.dropout_input', 'model.dropout_input', 'seeds.dropout']
    >>> similar_setting("seed", ["data.seed", "seeds.init", "seeds.data"])
    'seeds.init'
    """
    if _OTHER_KEYS.get(key) in known:
        return _OTHER_KEYS[key]
    section, _, name = key.rpartition(".")
    name = _OTHER_NAMES.get(name, name)
    own_section = [candidate for candidate in known if candidate.rpartition(".")[0] == section]
    others = [candidate for candidate in known if candidate not in own_section and not candidate.startswith("seeds.")]
    candidates = [*own_section, *others]
    names = [candidate.rpartition(".")[2] for candidate in candidates]
    own_beginning = [candidate for candidate in names[: len(own_section)] if candidate.startswith(name)]
    same_name = [candidate for candidate in names if candidate == name]
    same_beginning = [candidate for candidate in names if candidate.startswith(name)]
    similar = own_beginning or same_name or same_beginning or difflib.get_close_matches(name, names, n=1)
    return candidates[names.index(similar[0])] if similar else None
