"""Passages of running text out of a trained model: what is given, what may stand where, and text from symbols."""

import jax.numpy as jnp
import numpy as np

from nlstm_jax.data.text import END_OF_LINE, SPACE, UNKNOWN
from nlstm_jax.errors import ConfigError
from nlstm_jax.tasks.text import TextTask
from nlstm_jax.types import Array, Bool, Int


def read_prompt(task: TextTask, prompt: str) -> list[str]:
    """The symbols that a passage is to begin with; a newline ends a line.

    Raises:
        ConfigError: a symbol that the model does not know.
    """
    symbols: list[str] = []
    for number, line in enumerate(prompt.split("\n")):
        if number:
            symbols.append(END_OF_LINE)
        symbols += line.split() if task.unit == "words" else SPACE.join(line.split())
    for symbol in symbols:
        if symbol not in task.symbols:
            raise ConfigError(f"--prompt: {task.unit} of the training text expected, found {symbol!r}")
    return symbols


def places(task: TextTask, prompt: list[str], length: int) -> tuple[Int[Array, "S"], Bool[Array, "S V"]]:
    """What is given and what may stand at each of `length` places after the prompt: everything but `<unk>`."""
    forced = [task.symbols.index(symbol) for symbol in prompt] + [-1] * length
    allowed = np.array([symbol != UNKNOWN for symbol in task.symbols])
    return jnp.asarray(forced, jnp.int32), jnp.asarray(np.tile(allowed, (len(forced), 1)))


def write_passage(task: TextTask, symbols: Int[np.ndarray, "S"]) -> str:
    """The text, a line for each that ends."""
    lines: list[list[str]] = [[]]
    for number in symbols:
        symbol = task.symbols[number]
        if symbol == END_OF_LINE:
            lines.append([])
        else:
            lines[-1].append(symbol)
    if task.unit == "words":
        return "\n".join(" ".join(line) for line in lines)
    return "\n".join("".join(line).replace(SPACE, " ") for line in lines)
