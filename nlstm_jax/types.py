"""Types at the boundaries of the library, and the legend of the dimension letters of arrays.

    T  time steps              B  batch, examples           D  input features of a cell
    H  hidden units            O  output width of a cell    V  vocabulary
    L  stacked layers          N  examples of a split       C  channels a month (sales)
    S  symbols of a poem, with its beginning: T + 1         P, M  pairs and months (sales)

Arrays inside the library are time-major: `Float[Array, "T B D"]`. The tests check the annotations at run time.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, PRNGKeyArray, PyTree

AnyArray: TypeAlias = Array | np.ndarray
"""An array on a device, or a NumPy array on the host."""

Params: TypeAlias = Any
"""A NamedTuple of parameter arrays (float32 unless a test asks for more)."""

Carry: TypeAlias = Any
"""A NamedTuple of state arrays with leading axes `batch_shape`. The carry of a single cell has a field `h`."""

Noise: TypeAlias = Any
"""A pytree of per-time-step noise with leading axis T, or `()` if there is none."""

Projected: TypeAlias = Any
"""The result of `Cell.project`: a pytree of arrays with the leading axes of its input."""

Config: TypeAlias = Mapping[str, Any]
"""A configuration or one of its sections, as nested mappings of plain values."""

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object: one document of a run folder, or one line of `metrics.jsonl`."""

__all__ = [
    "AnyArray",
    "Array",
    "Bool",
    "Carry",
    "Config",
    "Float",
    "Int",
    "JsonObject",
    "Noise",
    "PRNGKeyArray",
    "Params",
    "Projected",
    "PyTree",
]
