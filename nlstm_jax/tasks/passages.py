"""Passages of running text sampled from a trained model: prompts, constraints, and conversion to text."""

import jax.numpy as jnp
import numpy as np

from nlstm_jax.data.text import END_OF_LINE, SPACE, UNKNOWN
from nlstm_jax.errors import ConfigError
from nlstm_jax.tasks.text import TextTask
from nlstm_jax.types import Array, Bool, Int


def read_prompt(task: TextTask, prompt: str) -> list[str]:
    """Return the symbols that a passage should begin with. A newline in the prompt ends a line.

    Raises:
        ConfigError: The model does not know a symbol.
    """
    symbols: list[str] = []
    for index, line in enumerate(prompt.split("\n")):
        if index > 0:
            symbols.append(END_OF_LINE)
        words = line.split()
        symbols += words if task.unit == "words" else SPACE.join(words)

    for symbol in symbols:
        if symbol not in task.symbols:
            raise ConfigError(f"--prompt: {task.unit} of the training text expected, found {symbol!r}")
    return symbols


def passage_constraints(task: TextTask, prompt: list[str], length: int) -> tuple[Int[Array, "S"], Bool[Array, "S V"]]:
    """Return the constraints on a sampled passage: the prompt is fixed, and `<unk>` is never sampled.

    Args:
        task: The task of the model.
        prompt: The symbols that the passage begins with.
        length: The number of symbols to sample after the prompt.

    Returns:
        The index of the symbol at every position, −1 where it is to be sampled; and a mask that is True for the
        symbols that are allowed at each position.
    """
    forced = [task.symbols.index(symbol) for symbol in prompt] + [-1] * length
    allowed = np.array([symbol != UNKNOWN for symbol in task.symbols])
    return jnp.asarray(forced, jnp.int32), jnp.asarray(np.tile(allowed, (len(forced), 1)))


def write_passage(task: TextTask, symbols: Int[np.ndarray, "S"]) -> str:
    """Return a passage as text, given the indices of its symbols. A line end becomes a newline."""
    lines: list[list[str]] = [[]]
    for index in symbols:
        symbol = task.symbols[index]
        if symbol == END_OF_LINE:
            lines.append([])
        else:
            lines[-1].append(symbol)

    if task.unit == "words":
        return "\n".join(" ".join(line) for line in lines)
    return "\n".join("".join(line).replace(SPACE, " ") for line in lines)
