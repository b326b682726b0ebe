"""PyTorch's `.pt` and `.pth` files, loaded by PyTorch with `weights_only=True`, which runs no code of the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nlstm_jax.adapters.weights.formats.stored import StoredWeights, check_size, first_line, import_reader
from nlstm_jax.errors import DataError


def read_torch_file(path: Path) -> StoredWeights:
    """Read the state dict in a PyTorch file: the whole file, or the one dictionary of tensors in a checkpoint.

    Raises:
        ConfigError: PyTorch is not installed.
        DataError: The file holds no state dict or several, or a tensor claims more bytes than the file holds.
    """
    torch = import_reader("torch", path, "a PyTorch file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    # A damaged file raises errors of many types, and a user needs one line for all of them.
    except Exception as error:
        raise DataError(
            f"{path}: a state dict, as torch.save(module.state_dict(), path) writes it, expected: {first_line(error)}"
        ) from error
    state_dict = _find_state_dict(torch, path, content)
    return StoredWeights({name: _to_array(torch, path, name, value) for name, value in state_dict.items()})


def _find_state_dict(torch: Any, path: Path, content: Any) -> Mapping[str, Any]:
    """Return the state dict: the content itself, or the one entry of it that is a dictionary of tensors."""
    if _is_state_dict(torch, content):
        return content
    if not isinstance(content, Mapping):
        raise DataError(f"{path}: a state dict expected, found {type(content).__name__}")
    entries = {str(key): value for key, value in content.items() if _is_state_dict(torch, value)}
    if len(entries) == 1:
        return next(iter(entries.values()))
    found = ", ".join(entries) or ", ".join(map(str, list(content)[:8])) or "nothing"
    raise DataError(f"{path}: one dictionary of tensors expected, found {len(entries)}: {found}")


def _is_state_dict(torch: Any, value: Any) -> bool:
    """Return True for a dictionary, not empty, of tensors by name."""
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(key, str) and isinstance(item, torch.Tensor) for key, item in value.items())


def _to_array(torch: Any, path: Path, name: str, tensor: Any) -> np.ndarray:
    """Return a tensor as an array; bfloat16, which NumPy lacks, becomes float32."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise DataError(f"{path}: {name}: a dense tensor expected, found {tensor.layout}, {tensor.dtype}")
    claimed = tensor.numel() * tensor.element_size()
    check_size(path, name, claimed, tensor.untyped_storage().nbytes(), is_compressed=False)
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return np.asarray(tensor.numpy())
