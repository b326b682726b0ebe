"""Poems out of a trained model: which symbol may stand where, and text from symbols and back."""

import unicodedata

import jax.numpy as jnp
import numpy as np

from nlstm_jax.data.poems import BEGIN, END, END_OF_LINE, FIRST_CHARACTER, RARE
from nlstm_jax.errors import ConfigError
from nlstm_jax.tasks.poems import PoemTask
from nlstm_jax.types import Array, Bool, Int


def read_prompt(task: PoemTask, prompt: str) -> list[str]:
    """The symbols that a poem is to begin with; a newline ends a line.

    Where all poems have one form, lines end by themselves, and newlines in the prompt are passed over.

    Raises:
        ConfigError: a symbol that the model does not know, or a prompt longer than the poem.
    """
    symbols: list[str] = []
    for number, line in enumerate(unicodedata.normalize("NFC", prompt).split("\n")):
        if number and task.form is None:
            symbols.append(END_OF_LINE)
        symbols += line.split() if task.separator or task.form else list(line)
    known = set(task.vocabulary.symbols[FIRST_CHARACTER:])
    for symbol in symbols:
        if symbol not in known and not (symbol == END_OF_LINE and task.form is None):
            raise ConfigError(f"--prompt: symbols of the training poems expected, found {symbol!r}")
    if task.form is not None:
        if len(symbols) > sum(task.form):
            raise ConfigError(f"--prompt: at most {sum(task.form)} symbols expected, found {len(symbols)}")
        symbols = _with_line_ends(symbols, task.form)
    return symbols


def places(task: PoemTask, prompt: list[str]) -> tuple[Int[Array, "S"], Bool[Array, "S V"]]:
    """What is given and what may stand at each place of a poem.

    Where all training poems have one form, so has what is drawn; otherwise everything but `<bos>` and `<R>` may stand
    everywhere, up to twice the longest training poem.
    """
    numbers = task.vocabulary.numbers()
    characters = np.ones(len(numbers), bool)
    characters[[numbers[symbol] for symbol in (BEGIN, END_OF_LINE, END, RARE)]] = False
    if task.form is None:
        anything = characters.copy()
        anything[[numbers[END_OF_LINE], numbers[END]]] = True
        allowed = np.tile(anything, (max(2 * int(task.splits["train"].tokens.shape[1]), len(prompt) + 1), 1))
    else:
        rows = []
        for line, length in enumerate(task.form):
            end = END if line == len(task.form) - 1 else END_OF_LINE
            rows += [characters] * length + [np.arange(len(numbers)) == numbers[end]]
        allowed = np.stack(rows)
    forced = np.full(len(allowed), -1, np.int32)
    forced[: len(prompt)] = [numbers[symbol] for symbol in prompt]
    return jnp.asarray(forced), jnp.asarray(allowed)


def write_poem(task: PoemTask, symbols: Int[np.ndarray, "S"]) -> str:
    """A poem's lines, from its symbol numbers up to `<eos>`."""
    lines: list[list[str]] = [[]]
    for number in symbols:
        symbol = task.vocabulary.symbols[number]
        if symbol == END:
            break
        if symbol == END_OF_LINE:
            lines.append([])
        else:
            lines[-1].append(symbol)
    return "\n".join(task.separator.join(line) for line in lines)


def _with_line_ends(symbols: list[str], form: tuple[int, ...]) -> list[str]:
    out: list[str] = []
    for length in form:
        if not symbols:
            break
        line, symbols = symbols[:length], symbols[length:]
        out += line
        if symbols:
            out.append(END_OF_LINE)
    return out
