"""Language modeling of a running text, read in windows. The carry passes from each window to the next."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from nlstm_jax.data.generators.verse_splits import generate_poems, generator_log_loss
from nlstm_jax.data.text import END_OF_LINE, SPACE, UNKNOWN, Text, cut, encode, read_text
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.models import LanguageModel, build_language_model
from nlstm_jax.settings import Metric, Question, Setting
from nlstm_jax.settings.models import LANGUAGE_MODEL
from nlstm_jax.settings.setting import rate, seed
from nlstm_jax.tasks.base import Task, reset_where
from nlstm_jax.tasks.sampling import SampleRequest, draw_samples
from nlstm_jax.tasks.scoring import check_texts, log_probabilities
from nlstm_jax.tasks.sums import WeightedSum, to_means
from nlstm_jax.tasks.text_windows import TextBatch, TextWindows
from nlstm_jax.types import Array, Bool, Carry, Config, Float, Int, PRNGKeyArray


class TextTask(Task[LanguageModel, TextBatch, Carry]):
    """A language model of a running text, with the log-loss in nats per symbol. See `tasks.base.Task`.

    The carry passes from each window to the next, but the gradient does not: this is truncated backpropagation through
    time. Training reads the text at `rows` positions at once. The validation and test text are each read as one row
    from beginning to end. All their symbols except the very first are therefore targets, and each is predicted from
    all symbols before it.

    Attributes:
        symbols: The symbols of the vocabulary, in the order of their indices.
        unit: The kind of symbol, `words` or `characters`.
    """

    settings: ClassVar = {
        "data.path": Setting("", "a folder with *train*.txt, *valid*.txt, *test*.txt; empty: generated verse"),
        "data.files": Setting(
            "", "which files of the folder: a name with {split} for train, valid, test; empty: *{split}*.txt"
        ),
        "data.unit": Setting("words", "what a symbol is", choices=("words", "characters")),
        "data.vocabulary": Setting(
            0, "if > 0: so many symbols at the most, rarer ones are <unk>", low=0, high=10_000_000
        ),
        "data.window": Setting(
            20, "T, symbols in a window, beyond which the gradient does not go", low=1, high=100_000
        ),
        "data.train_poems": Setting(4000, "generated: poems to train on", low=1, high=10_000_000),
        "data.valid_poems": Setting(400, "generated: poems to validate on", low=1, high=1_000_000),
        "data.test_poems": Setting(400, "generated: poems to test on", low=1, high=1_000_000),
        "data.seed": seed("generated: of the poems"),
        "train.loss_per": Setting(
            "target",
            "of what training minimizes the mean: sequence sums over a window",
            choices=("target", "sequence"),
        ),
        **LANGUAGE_MODEL,
        "model.dropout_input": rate(0.0, "rate on the embedded symbols"),
        "model.dropout_output": rate(0.0, "rate on what enters the softmax"),
    }
    metrics = (Metric("log_loss", "nats per symbol"), Metric("perplexity"))
    question = Question(
        version=1,
        settings=("data.unit", "data.vocabulary"),
        generated=("data.train_poems", "data.valid_poems", "data.test_poems", "data.seed"),
    )

    splits: dict[str, TextWindows]

    def __init__(
        self,
        text: Text,
        *,
        rows: int,
        window: int,
        unit: str = "words",
        loss_per: str = "target",
        floor: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        """Cut a text into rows and windows.

        Args:
            text: The encoded text of all splits.
            rows: The number of rows of the training text, which is the batch size.
            window: The number of targets in a window.
            unit: The kind of symbol, `words` or `characters`.
            loss_per: The mean that training minimizes. With `target` it is the mean over all targets. With `sequence`
                it is the sum over a window, averaged over the rows, as in Zaremba et al. (arXiv 1409.2329).
            floor: The lowest log-loss that a model can reach, by split and metric. None if it is unknown.
        """
        self.symbols = text.symbols
        self.unit = unit
        self._per_sequence = loss_per == "sequence"

        self.splits = {}
        log_lines = [f"vocabulary: {len(text.symbols):,} symbols"]
        for split, indices in text.splits.items():
            is_train = split == "train"
            split_rows = rows if is_train else 1
            self.splits[split] = TextWindows.from_text(indices, split_rows, window, drop_remainder=is_train)

            line = f"{split}: {len(indices):,} symbols"
            if text.unknown[split]:
                share = 100 * text.unknown[split] / len(indices)
                line += f", {text.unknown[split]:,} ({share:.1f} %) that the vocabulary lacks read as <unk>"
            log_lines.append(line)

        self.log_lines = (*log_lines, *text.notes)
        self.targets_per_example = float(window)
        self.model_dims = {"vocabulary": len(text.symbols)}
        self.metadata = {"name": "text", "checksums": text.checksums}
        if floor:
            self.metadata["floor"] = dict(floor)

    @classmethod
    def from_config(cls, config: Config) -> "TextTask":
        """Build the task on the text in the folder `data.path`, or on generated verse if the path is empty.

        Raises:
            ConfigError: The setting `data.files` is invalid, see `read_text`.
            DataError: The text cannot be read (see `read_text`), or it is too short for one window of every row.
        """
        data = config["data"]
        rows = config["train"]["batch_size"]
        floor: dict[str, dict[str, float]] | None = None
        if data["path"]:
            text = read_text(Path(data["path"]).expanduser(), data["unit"], data["vocabulary"], data["files"])
            source = f"text: {data['path']}"
        else:
            text, floor = _generate(data)
            source = "text: generated verse"

        window = data["window"]
        for split, indices in text.splits.items():
            if split == "train":
                _check_length(indices, rows, window, f"{source}: {split}")
            else:
                _check_length(indices, 1, 1, f"{source}: {split}")
        loss_per = config["train"]["loss_per"]
        return cls(text, rows=rows, window=window, unit=data["unit"], loss_per=loss_per, floor=floor)

    @staticmethod
    def build_model(config: Config, dims: Mapping[str, int]) -> LanguageModel:
        """Build the language model over the vocabulary of the training text."""
        return build_language_model(config, dims["vocabulary"])

    def initial_carry(self, model: LanguageModel, batch_size: int) -> Carry:
        """Return the initial carry of the model's cell."""
        return model.cell.cell.initial_carry((batch_size,))

    def train_loss(
        self, model: LanguageModel, batch: TextBatch, carry: Carry, key: PRNGKeyArray | None
    ) -> tuple[WeightedSum, Carry]:
        """Compute the log-loss in nats, summed over the targets of the batch, and the carry after it."""
        carry, nats = self._log_loss(model, batch, carry, batch.mask, key)
        weight = jnp.float32(batch.first.size) if self._per_sequence else batch.mask.sum()
        return WeightedSum(nats, weight), carry

    def eval_step(
        self, model: LanguageModel, batch: TextBatch, carry: Carry, weight: Float[Array, "B"]
    ) -> tuple[dict[str, WeightedSum], Carry]:
        """Compute the log-loss in nats, summed over the weighted targets, and the carry after the batch."""
        weights = batch.mask * weight
        carry, nats = self._log_loss(model, batch, carry, weights, None)
        return {"log_loss": WeightedSum(nats, weights.sum())}, carry

    def report(self, totals: Mapping[str, Mapping[str, WeightedSum]]) -> dict[str, dict[str, float]]:
        """Return the log-loss and the perplexity = exp(log-loss) of every split."""
        metrics = {}
        for split, means in to_means(totals).items():
            log_loss = means["log_loss"]
            metrics[split] = {"log_loss": log_loss, "perplexity": float(np.exp(log_loss))}
        return metrics

    def sample(self, model: LanguageModel, request: SampleRequest) -> str:
        """Return passages sampled from a model, with an empty line between them. See `abilities.Samples`.

        Raises:
            ConfigError: The model does not know a symbol of the prompt.
        """
        prompt = self.read_prompt(request.prompt)
        forced, allowed = self.sample_constraints(prompt, request.length)
        samples = draw_samples(model, self._line_end, forced, allowed, request)
        return "\n\n".join(self.write(symbols) for symbols in samples)

    def predict(
        self, model: LanguageModel, inputs: Sequence[str] | None = None, names: Sequence[str] = ()
    ) -> Float[np.ndarray, "N"]:
        """Return the log-probability of each passage in nats, given a line end before it.

        A newline ends a line. Every line counts with its end, and empty lines are left out. Symbols that the
        vocabulary lacks are read as `<unk>`, as in an evaluation. See `abilities.Predicts`.

        Raises:
            ConfigError: There are no passages.
            DataError: A passage has no symbols, or one that the vocabulary lacks, and it has no `<unk>` either.
        """
        symbol_index = {symbol: index for index, symbol in enumerate(self.symbols)}
        unknown_index = symbol_index.get(UNKNOWN)
        rows = []
        for number, text in enumerate(check_texts(inputs), start=1):
            name = names[number - 1] if names else f"passage {number:,}"
            lines = [line.split() for line in text.split("\n")]
            symbols = cut([words for words in lines if words], self.unit)
            if not symbols:
                raise DataError(f"{name}: {self.unit} expected, found none")
            row = [self._line_end]
            for symbol in symbols:
                index = symbol_index.get(symbol, unknown_index)
                if index is None:
                    raise DataError(f"{name}: {self.unit} of the training text expected, found {symbol!r}")
                row.append(index)
            rows.append(row)
        tokens = np.full((len(rows), max(map(len, rows))), self._line_end, np.int32)
        for row, token_row in zip(rows, tokens, strict=True):
            token_row[: len(row)] = row
        lengths = np.array([len(row) - 1 for row in rows], np.int32)
        return log_probabilities(model, tokens, lengths)

    @property
    def _line_end(self) -> int:
        """The index of the symbol that ends a line. A small vocabulary may lack it; training has read `<unk>` then."""
        return self.symbols.index(END_OF_LINE if END_OF_LINE in self.symbols else UNKNOWN)

    def read_prompt(self, prompt: str) -> list[str]:
        """Return the symbols that a passage should begin with. A newline in the prompt ends a line.

        Raises:
            ConfigError: The model does not know a symbol.
        """
        lines = [line.split() for line in prompt.split("\n")]
        symbols = cut(lines, self.unit)[:-1]
        for symbol in symbols:
            if symbol not in self.symbols:
                raise ConfigError(f"--prompt: {self.unit} of the training text expected, found {symbol!r}")
        return symbols

    def sample_constraints(self, prompt: list[str], length: int) -> tuple[Int[Array, "S"], Bool[Array, "S V"]]:
        """Return the constraints on a sampled passage: the prompt is fixed, and `<unk>` is never sampled.

        Args:
            prompt: The symbols that the passage begins with.
            length: The number of symbols to sample after the prompt.

        Returns:
            The index of the symbol at every position, −1 where it is to be sampled; and a mask that is True for the
            symbols that are allowed at each position.
        """
        forced = [self.symbols.index(symbol) for symbol in prompt] + [-1] * length
        allowed = np.array([symbol != UNKNOWN for symbol in self.symbols])
        return jnp.asarray(forced, jnp.int32), jnp.asarray(np.tile(allowed, (len(forced), 1)))

    def write(self, symbols: Int[np.ndarray, "S"]) -> str:
        """Return a passage as text, given the indices of its symbols. A line end becomes a newline."""
        lines: list[list[str]] = [[]]
        for index in symbols:
            symbol = self.symbols[index]
            if symbol == END_OF_LINE:
                lines.append([])
            else:
                lines[-1].append(symbol)

        if self.unit == "words":
            return "\n".join(" ".join(line) for line in lines)
        return "\n".join("".join(line).replace(SPACE, " ") for line in lines)

    def example_lines(self, split: str, count: int) -> list[str]:
        """Return the first windows of the first row as text. See `abilities.ShowsExamples`."""
        windows = self.splits[split]
        row = np.asarray(windows.tokens)[0, : windows.length + 1]
        starts = range(0, min(count * windows.window, windows.length), windows.window)
        return [self.write(row[start : start + windows.window]) for start in starts]

    def _log_loss(
        self,
        model: LanguageModel,
        batch: TextBatch,
        carry: Carry,
        weights: Float[Array, "T B"],
        key: PRNGKeyArray | None,
    ) -> tuple[Carry, Float[Array, ""]]:
        """Compute the carry after a batch and the weighted sum of its log-loss. Rows that begin have a fresh carry."""
        fresh_carry = self.initial_carry(model, batch.first.size)
        carry = reset_where(batch.first, fresh_carry, carry)
        carry, nats, _ = model.log_loss(batch.tokens, batch.targets, weights, carry, key=key)
        return carry, nats


def _check_length(text: Int[np.ndarray, "N"], rows: int, targets: int, source: str) -> None:
    """Raise a DataError if a text is too short for `rows` rows of `targets` targets. `source` begins the message."""
    if len(text) // rows < targets + 1:
        advice = "; a smaller config.train.batch_size or config.data.window serves" if rows * targets > 1 else ""
        raise DataError(
            f"{source}: {rows * (targets + 1):,} symbols or more for {rows} rows of {targets} targets "
            f"expected, found {len(text):,}{advice}"
        )


def _generate(data: Config) -> tuple[Text, dict[str, dict[str, float]] | None]:
    """Generate a text from the English grammar: the lines of its verse, one after the other.

    Returns:
        The text, and the floor of the validation split: the grammar's own log-loss on it. The floor is None if the
        symbols are characters or the vocabulary is limited.
    """
    poems = generate_poems(data)
    symbols = {}
    for split, split_poems in poems.items():
        lines = itertools.chain.from_iterable(split_poems)
        symbols[split] = cut(lines, data["unit"])
    text = encode(symbols, data["vocabulary"])

    if data["unit"] != "words" or data["vocabulary"]:
        return text, None
    log_loss = generator_log_loss(poems["valid"])["log_loss"]
    return text, {"valid": {"log_loss": log_loss, "perplexity": float(np.exp(log_loss))}}
