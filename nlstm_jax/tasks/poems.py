"""Poem language modeling: predict the next symbol of a poem from the symbols before it."""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.data.generators.verse_splits import generate_poems, generator_log_loss
from nlstm_jax.data.poems import (
    BEGIN,
    END,
    END_OF_LINE,
    FIRST_CHARACTER,
    RARE,
    SPLITS,
    Corpus,
    Poem,
    Vocabulary,
    read_corpus,
    shared_lines,
)
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.models import LanguageModel, build_language_model
from nlstm_jax.settings import Metric, Question, Setting
from nlstm_jax.settings.models import LANGUAGE_MODEL
from nlstm_jax.settings.setting import seed
from nlstm_jax.tasks.base import ShuffledExamples, StatelessTask
from nlstm_jax.tasks.sampling import SampleRequest, draw_samples
from nlstm_jax.tasks.scoring import check_texts, log_probabilities
from nlstm_jax.tasks.sums import WeightedSum, to_means
from nlstm_jax.types import AnyArray, Array, Bool, Config, Float, Int, PRNGKeyArray
from nlstm_jax.wording import count_of


class PoemBatch(NamedTuple):
    """A time-major batch of poems.

    Attributes:
        tokens: The indices of the symbols. The first one is `<bos>`.
        lengths: The number of targets of each poem.
    """

    tokens: Int[Array, "S B"]
    lengths: Int[Array, "B"]

    @property
    def mask(self) -> Float[Array, "T B"]:
        """The weights of the targets: 1 inside a poem, 0 past its end."""
        steps = jnp.arange(self.tokens.shape[0] - 1)
        return (steps[:, None] < self.lengths).astype(jnp.float32)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PoemExamples(ShuffledExamples):
    """The poems of a split.

    Attributes:
        tokens: The indices of the symbols, one poem per row, padded with `<eos>`.
        lengths: The number of targets of each poem.
    """

    tokens: Int[AnyArray, "N S"]
    lengths: Int[AnyArray, "N"]

    @property
    def size(self) -> int:
        """The number of poems."""
        return self.tokens.shape[0]

    def gather(self, indices: Int[Array, "B"]) -> PoemBatch:
        """Return the poems with these indices as a batch."""
        tokens = jnp.asarray(self.tokens)[indices]
        lengths = jnp.asarray(self.lengths)[indices]
        return PoemBatch(tokens.T, lengths)


class PoemTask(StatelessTask[LanguageModel, PoemBatch]):
    """A language model of poems, with the log-loss in nats per target. See `tasks.base.Task`.

    The targets are all symbols, the line ends and the poem's end.

    Attributes:
        vocabulary: The vocabulary of the training poems.
        symbols: The symbols of the vocabulary, in the order of their indices.
        separator: The text between two symbols of a line when a poem is written out.
        form: The length of every line, if all training poems have the same line lengths. Otherwise None.
    """

    settings: ClassVar = {
        "data.path": Setting("", "a folder of quatrain files or a file of poems; empty: generated verse"),
        "data.train_poems": Setting(10_000, "generated: poems to train on", low=1, high=10_000_000),
        "data.valid_poems": Setting(1000, "generated: poems to validate on", low=1, high=1_000_000),
        "data.test_poems": Setting(1000, "generated: poems to test on", low=1, high=1_000_000),
        "data.seed": seed("generated: of the poems"),
        **LANGUAGE_MODEL,
    }
    metrics = (
        Metric("log_loss", "nats per target"),
        Metric("log_loss_per_character", "nats per character"),
        Metric("perplexity"),
    )
    question = Question(version=1, generated=("data.train_poems", "data.valid_poems", "data.test_poems", "data.seed"))

    splits: dict[str, PoemExamples]

    def __init__(self, corpus: Corpus, *, floor: Mapping[str, Mapping[str, float]] | None = None) -> None:
        """Encode a corpus.

        Args:
            corpus: The poems by split.
            floor: The lowest log-loss that a model can reach, by split and metric. None if it is unknown.
        """
        train_poems = corpus.splits["train"]
        self.vocabulary = Vocabulary.from_poems(train_poems)
        self.symbols = self.vocabulary.symbols
        self.separator = corpus.separator
        self.form = _common_form(train_poems)

        self.splits = {}
        log_lines = [f"vocabulary: {len(self.vocabulary.symbols):,} symbols"]
        for split, poems in corpus.splits.items():
            tokens, lengths, unknown = self.vocabulary.encode(poems)
            self.splits[split] = PoemExamples(tokens, lengths)

            line = f"{split}: {count_of(len(poems), 'poem')}, {count_of(int(lengths.sum()), 'target')}"
            if unknown:
                line += f", {count_of(unknown, 'symbol')} that training lacks read as <R>"
            leaks = shared_lines(train_poems, poems) if split != "train" else 0
            if leaks:
                line += f", {count_of(leaks, 'poem')} with two or more lines of one training poem"
            log_lines.append(line)

        self.log_lines = tuple(log_lines)
        self.targets_per_example = float(np.mean(self.splits["train"].lengths))
        self.model_dims = {"vocabulary": len(self.vocabulary.symbols)}
        self.metadata = {
            "name": "poems",
            "checksums": corpus.checksums or {"generated": self._fingerprint()},
        }
        if floor:
            self.metadata["floor"] = dict(floor)

    @classmethod
    def from_config(cls, config: Config) -> "PoemTask":
        """Build the task on the poems of `data.path`, or on generated verse if the path is empty.

        Raises:
            DataError: The poems cannot be read (see `read_poems`), or there are fewer of them for training than
                `train.batch_size`.
        """
        data = config["data"]
        batch_size = config["train"]["batch_size"]
        floor: dict[str, dict[str, float]] | None = None
        if data["path"]:
            path = Path(data["path"]).expanduser()
            corpus = read_poems(path)
            source = f"poems: {path}"
        else:
            corpus, floor = _generate(data)
            source = "poems: generated verse"

        count = len(corpus.splits["train"])
        if count < batch_size:
            raise DataError(
                f"{source}: at least one batch of {batch_size} training poems expected, found {count}; "
                f"--config.train.batch_size={count} or less serves"
            )
        task = cls(corpus, floor=floor)
        if data["path"] and config["train"]["steps"]:
            steps = config["train"]["steps"]
            passes = steps * batch_size / count
            task.log_lines += (
                f"{steps:,} steps of {batch_size} poems are {passes:.1f} passes over {count:,} (config.train.steps, "
                "config.train.batch_size)",
            )
        return task

    @staticmethod
    def build_model(config: Config, dims: Mapping[str, int]) -> LanguageModel:
        """Build the language model over the vocabulary of the training poems."""
        return build_language_model(config, dims["vocabulary"])

    def loss(self, model: LanguageModel, batch: PoemBatch, key: PRNGKeyArray | None) -> WeightedSum:
        """Compute the log-loss in nats, summed over all targets of the batch."""
        inputs = batch.tokens[:-1]
        targets = batch.tokens[1:]
        mask = batch.mask
        _, nats, _ = model.log_loss(inputs, targets, mask, lengths=batch.lengths, key=key)
        return WeightedSum(nats, mask.sum())

    def measure(self, model: LanguageModel, batch: PoemBatch, weight: Float[Array, "B"]) -> dict[str, WeightedSum]:
        """Compute the log-loss in nats, over all targets and over characters alone (without line and poem ends)."""
        inputs = batch.tokens[:-1]
        targets = batch.tokens[1:]
        weights = batch.mask * weight
        _, total_nats, nats = model.log_loss(inputs, targets, weights, lengths=batch.lengths)
        character_weights = weights * (targets >= FIRST_CHARACTER)
        return {
            "log_loss": WeightedSum(total_nats, weights.sum()),
            "log_loss_per_character": WeightedSum((nats * character_weights).sum(), character_weights.sum()),
        }

    def report(self, totals: Mapping[str, Mapping[str, WeightedSum]]) -> dict[str, dict[str, float]]:
        """Return the log-loss, the log-loss per character, and the perplexity = exp(log-loss) of every split."""
        metrics = {}
        for split, means in to_means(totals).items():
            metrics[split] = {**means, "perplexity": float(np.exp(means["log_loss"]))}
        return metrics

    def sample(self, model: LanguageModel, request: SampleRequest) -> str:
        """Return poems sampled from a model, with an empty line between them. See `abilities.Samples`.

        Raises:
            ConfigError: The model does not know a symbol of the prompt, or the prompt is longer than the poem.
        """
        begin = self.vocabulary.symbols.index(BEGIN)
        forced, allowed = self.sample_constraints(self.read_prompt(request.prompt))
        samples = draw_samples(model, begin, forced, allowed, request)
        return "\n\n".join(self.write(symbols) for symbols in samples)

    def predict(
        self, model: LanguageModel, inputs: Sequence[str] | None = None, names: Sequence[str] = ()
    ) -> Float[np.ndarray, "N"]:
        """Return the log-probability of each poem in nats, its line ends and its end included.

        A newline ends a line, and empty lines are left out. Symbols that training lacks are read as `<R>`, as in an
        evaluation. See `abilities.Predicts`.

        Raises:
            ConfigError: There are no poems.
            DataError: A poem has no symbols.
        """
        poems = []
        for index, text in enumerate(check_texts(inputs)):
            lines = [line.rstrip() for line in unicodedata.normalize("NFC", text).split("\n")]
            poem = tuple(tuple(self._cut_line(line)) for line in lines if line)
            if not poem:
                raise DataError(f"{names[index] if names else f'poem {index + 1:,}'}: symbols expected, found none")
            poems.append(poem)
        tokens, lengths, _ = self.vocabulary.encode(poems)
        return log_probabilities(model, tokens, lengths)

    def read_prompt(self, prompt: str) -> list[str]:
        """Return the symbols that a poem should begin with. A newline in the prompt ends a line.

        Blanks part words. Between characters they are symbols if the training poems have blanks; otherwise they may
        stand in the prompt or not. If all poems have the same form, the form decides the line ends, and newlines in
        the prompt are ignored.

        Raises:
            ConfigError: The model does not know a symbol, or the prompt is longer than the poem.
        """
        symbols: list[str] = []
        for index, line in enumerate(unicodedata.normalize("NFC", prompt).split("\n")):
            if index > 0 and self.form is None:
                symbols.append(END_OF_LINE)
            symbols += self._cut_line(line)

        known = set(self.vocabulary.symbols[FIRST_CHARACTER:])
        if self.form is None:
            known.add(END_OF_LINE)
        for symbol in symbols:
            if symbol not in known:
                raise ConfigError(f"--prompt: symbols of the training poems expected, found {symbol!r}")

        if self.form is None:
            return symbols
        if len(symbols) > sum(self.form):
            raise ConfigError(f"--prompt: at most {sum(self.form)} symbols expected, found {len(symbols)}")
        return _insert_line_ends(symbols, self.form)

    def _cut_line(self, line: str) -> list[str]:
        """Return the symbols of a line of a prompt. Without blanks in the poems, a symbol may have several letters."""
        if self.separator:
            return line.split()
        known = self.vocabulary.symbols[FIRST_CHARACTER:]
        if " " in known:
            return list(line)
        symbols: list[str] = []
        for word in line.split():
            symbols += [word] if word in known else list(word)
        return symbols

    def sample_constraints(self, prompt: list[str]) -> tuple[Int[Array, "S"], Bool[Array, "S V"]]:
        """Return the constraints on a sampled poem: the prompt is fixed, and only some symbols are allowed.

        If all training poems have the same form, the sampled poem has it too. Otherwise every symbol except `<bos>`
        and `<R>` is allowed at every position, and the poem has at most twice the length of the longest training poem.

        Args:
            prompt: The symbols that the poem begins with.

        Returns:
            The index of the symbol at every position, −1 where it is to be sampled; and a mask that is True for the
            symbols that are allowed at each position.
        """
        symbol_index = self.vocabulary.numbers()
        is_character = np.ones(len(symbol_index), bool)
        for symbol in (BEGIN, END_OF_LINE, END, RARE):
            is_character[symbol_index[symbol]] = False

        if self.form is None:
            is_allowed = is_character.copy()
            is_allowed[symbol_index[END_OF_LINE]] = True
            is_allowed[symbol_index[END]] = True
            longest = int(self.splits["train"].tokens.shape[1])
            length = max(2 * longest, len(prompt) + 1)
            allowed = np.tile(is_allowed, (length, 1))
        else:
            masks = []
            for line, line_length in enumerate(self.form):
                end = END if line == len(self.form) - 1 else END_OF_LINE
                masks += [is_character] * line_length
                masks.append(np.arange(len(symbol_index)) == symbol_index[end])
            allowed = np.stack(masks)

        forced = np.full(len(allowed), -1, np.int32)
        forced[: len(prompt)] = [symbol_index[symbol] for symbol in prompt]
        return jnp.asarray(forced), jnp.asarray(allowed)

    def write(self, symbols: Int[np.ndarray, "S"]) -> str:
        """Return a poem as text, given the indices of its symbols. The poem ends before the first `<eos>`."""
        lines: list[list[str]] = [[]]
        for index in symbols:
            symbol = self.vocabulary.symbols[index]
            if symbol == END:
                break
            if symbol == END_OF_LINE:
                lines.append([])
            else:
                lines[-1].append(symbol)
        return "\n".join(self.separator.join(line) for line in lines)

    def example_lines(self, split: str, count: int) -> list[str]:
        """Return the first poems as text. See `abilities.ShowsExamples`."""
        return [self.write(tokens[1:]) for tokens in np.asarray(self.splits[split].tokens)[:count]]

    def _fingerprint(self) -> str:
        """Return the SHA-256 of the vocabulary and the encoded training poems."""
        symbols = " ".join(self.vocabulary.symbols)
        tokens = np.ascontiguousarray(self.splits["train"].tokens)
        return hashlib.sha256(symbols.encode() + tokens.tobytes()).hexdigest()


def read_poems(path: Path) -> Corpus:
    """Read a user's poems, see `read_corpus`.

    Args:
        path: A file of poems or a folder of quatrain files.

    Raises:
        DataError: The poems cannot be read, or a split has no poem.
    """
    corpus = read_corpus(path)
    for split in SPLITS:
        if not corpus.splits[split]:
            raise DataError(
                f"poems: {path}: at least one poem in the {split} split expected, found none among "
                f"{sum(map(len, corpus.splits.values()))} poems, which a hash of their text "
                "splits 90/5/5; three different poems or more, parted by blank lines, serve"
            )
    return corpus


def _generate(data: Config) -> tuple[Corpus, dict[str, dict[str, float]]]:
    """Generate verse from the English grammar.

    Returns:
        The poems, and the floor of the validation split: the grammar's own log-loss on it.
    """
    splits = generate_poems(data)
    corpus = Corpus(splits, separator=" ")
    floor = {"valid": generator_log_loss(splits["valid"])}
    return corpus, floor


def _common_form(poems: list[Poem]) -> tuple[int, ...] | None:
    """Return the length of every line if all poems have the same line lengths, otherwise None."""
    forms = {tuple(map(len, poem)) for poem in poems}
    return forms.pop() if len(forms) == 1 else None


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
