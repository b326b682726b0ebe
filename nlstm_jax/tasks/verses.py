"""Poems sampled from a trained model: prompts, constraints, and conversion to text."""

import unicodedata

import jax.numpy as jnp
import numpy as np

from nlstm_jax.data.poems import BEGIN, END, END_OF_LINE, FIRST_CHARACTER, RARE
from nlstm_jax.errors import ConfigError
from nlstm_jax.tasks.poems import PoemTask
from nlstm_jax.types import Array, Bool, Int


def read_prompt(task: PoemTask, prompt: str) -> list[str]:
    """Return the symbols that a poem should begin with. A newline in the prompt ends a line.

    If all poems have the same form, the form decides the line ends, and newlines in the prompt are ignored.

    Raises:
        ConfigError: The model does not know a symbol, or the prompt is longer than the poem.
    """
    symbols: list[str] = []
    for index, line in enumerate(unicodedata.normalize("NFC", prompt).split("\n")):
        if index > 0 and task.form is None:
            symbols.append(END_OF_LINE)
        split_at_spaces = task.separator or task.form
        symbols += line.split() if split_at_spaces else list(line)

    known = set(task.vocabulary.symbols[FIRST_CHARACTER:])
    if task.form is None:
        known.add(END_OF_LINE)
    for symbol in symbols:
        if symbol not in known:
            raise ConfigError(f"--prompt: symbols of the training poems expected, found {symbol!r}")

    if task.form is None:
        return symbols
    if len(symbols) > sum(task.form):
        raise ConfigError(f"--prompt: at most {sum(task.form)} symbols expected, found {len(symbols)}")
    return _insert_line_ends(symbols, task.form)


def poem_constraints(task: PoemTask, prompt: list[str]) -> tuple[Int[Array, "S"], Bool[Array, "S V"]]:
    """Return the constraints on a sampled poem: the prompt is fixed, and only some symbols are allowed.

    If all training poems have the same form, the sampled poem has it too. Otherwise every symbol except `<bos>` and
    `<R>` is allowed at every position, and the poem has at most twice the length of the longest training poem.

    Args:
        task: The task of the model.
        prompt: The symbols that the poem begins with.

    Returns:
        The index of the symbol at every position, −1 where it is to be sampled; and a mask that is True for the
        symbols that are allowed at each position.
    """
    symbol_index = task.vocabulary.numbers()
    is_character = np.ones(len(symbol_index), bool)
    for symbol in (BEGIN, END_OF_LINE, END, RARE):
        is_character[symbol_index[symbol]] = False

    if task.form is None:
        is_allowed = is_character.copy()
        is_allowed[symbol_index[END_OF_LINE]] = True
        is_allowed[symbol_index[END]] = True
        longest = int(task.splits["train"].tokens.shape[1])
        length = max(2 * longest, len(prompt) + 1)
        allowed = np.tile(is_allowed, (length, 1))
    else:
        masks = []
        for line, line_length in enumerate(task.form):
            end = END if line == len(task.form) - 1 else END_OF_LINE
            masks += [is_character] * line_length
            masks.append(np.arange(len(symbol_index)) == symbol_index[end])
        allowed = np.stack(masks)

    forced = np.full(len(allowed), -1, np.int32)
    forced[: len(prompt)] = [symbol_index[symbol] for symbol in prompt]
    return jnp.asarray(forced), jnp.asarray(allowed)


def write_poem(task: PoemTask, symbols: Int[np.ndarray, "S"]) -> str:
    """Return a poem as text, given the indices of its symbols. The poem ends before the first `<eos>`."""
    lines: list[list[str]] = [[]]
    for index in symbols:
        symbol = task.vocabulary.symbols[index]
        if symbol == END:
            break
        if symbol == END_OF_LINE:
            lines.append([])
        else:
            lines[-1].append(symbol)
    return "\n".join(task.separator.join(line) for line in lines)


def _insert_line_ends(symbols: list[str], form: tuple[int, ...]) -> list[str]:
    """Insert a line end between the lines of a poem's beginning. `form` is the length of every line."""
    with_line_ends: list[str] = []
    rest = symbols
    for line_length in form:
        if not rest:
            break
        with_line_ends += rest[:line_length]
        rest = rest[line_length:]
        if rest:
            with_line_ends.append(END_OF_LINE)
    return with_line_ends
