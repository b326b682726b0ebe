"""Verse under fixed rules, with a generator that knows the exact probability of every token that it writes.

A poem has four hidden choices that no word names: a metre (syllables, line by line), a syntax (kinds of words), a
theme and a rhyme scheme. Each is drawn uniformly. Given the choices, every word is drawn from the words that the rules
allow at its position, in proportion to its weight:

    p(w | choices, words before) = allowed(w) weight(w) / Σ_v allowed(v) weight(v)

Rules have a long range, weights depend on one word before. The rules are these. Metre and syntax hold in every line.
The last line answers the line before it word for word, from the partner category. Line ends rhyme as the scheme says,
never on the same word twice, and ends that need not rhyme must not. A word's weight is its frequency, multiplied by a
factor each if the theme prefers the word, if it alliterates with the word before, and if its category has an affinity
with the category of the word before.

The hidden choices are few, so a forward pass over all of them gives log p(token | tokens before) exactly. The mean of
its negative is the lowest log-loss that any model of this verse can reach.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, permutations
from typing import NamedTuple

import numpy as np

from nlstm_jax.data.generators import verse_words as english
from nlstm_jax.data.generators.verse_rules import broken_rules, contradictions
from nlstm_jax.data.generators.verse_spec import VerseSpec
from nlstm_jax.data.generators.verse_words import Word
from nlstm_jax.data.poems import Poem
from nlstm_jax.errors import DataError

__all__ = ["ENGLISH_VERSE", "Poem", "VerseGrammar", "Word"]

CHUNK = 1024  # poems at a time: the pass over all choices then stays within a few megabytes
_CHOICES = 4  # metre, syntax, theme and scheme


class _Tables(NamedTuple):
    """The grammar as arrays, for V words and one index more, V, that means no word.

    The rows of `slots` and `totals` are G groups of words: first the categories, then the kinds. S is the number of
    themes.

    Attributes:
        row: The index of each word by its text.
        category: The category of each word, int [V+1]; -1 for no word.
        family: The category of each word that ends lines, int [V+1]; -1 for all others.
        ends: The words that end lines, int [E].
        partner: The category that answers each category, int [G].
        syntax: The rows of `slots` for the words before a line's end, int [syntaxes, lines, words].
        metre: The syllables of the same words, int [metres, lines, words].
        slots: True for the words of a group with a number of syllables, bool [G, syllables, V+1].
        weights: The weight by theme, word before (V at the start of a line) and word, float64 [S, V+1, V+1].
        totals: The summed weights of a slot's words behind each word, float64 [G, syllables, S, V+1].
    """

    row: dict[str, int]
    category: np.ndarray
    family: np.ndarray
    ends: np.ndarray
    partner: np.ndarray
    syntax: np.ndarray
    metre: np.ndarray
    slots: np.ndarray
    weights: np.ndarray
    totals: np.ndarray


@dataclass(frozen=True, eq=False)
class VerseGrammar(VerseSpec):
    """A generator of verse that keeps the rules of a `VerseSpec`. Experiments use `ENGLISH_VERSE`.

    Its fields are those of `VerseSpec`.

    Raises:
        ValueError: The rules contradict each other, or leave a position without a word.

    Example:
        >>> poem = ENGLISH_VERSE.sample(1, seed=3)[0]
        >>> ENGLISH_VERSE.broken_rules(poem)
        []
        >>> ENGLISH_VERSE.log_probabilities([poem]).shape
        (1, 24)
    """

    def __post_init__(self) -> None:
        for problem in contradictions(self):
            raise ValueError(f"verse grammar: {problem}")

    def count_poems(self) -> int:
        """Count the poems that the first metre, syntax and scheme allow.

        These are all poems of the grammar if it has no other metre, syntax or scheme.
        """
        words_of = Counter((word.category, word.syllables) for word in self.words)
        family_sizes = Counter(word.category for word in self.words if word.category in self.families)
        syntax = self.syntaxes[0]
        metre = self.metres[0]
        free = []
        for kind, syllables in zip(chain(*syntax[:-2]), chain(*metre[:-2]), strict=True):
            free.append(sum(words_of[category, syllables] for category in self.kinds[kind]))
        couplet = []
        for kind, syllables, answer_syllables in zip(syntax[-1], metre[-2], metre[-1], strict=True):
            pairs = [
                words_of[category, syllables] * words_of[self.partners[category], answer_syllables]
                for category in self.kinds[kind]
            ]
            couplet.append(sum(pairs))

        # Each letter of the scheme takes a family of its own, and as many different words of it as it has lines.
        lines_of_letter = Counter(self.schemes[0]).values()
        ends = sum(
            math.prod(map(math.perm, sizes, lines_of_letter))
            for sizes in permutations(family_sizes.values(), len(lines_of_letter))
        )
        return math.prod(free + couplet) * ends

    def sample(self, count: int, seed: int) -> list[Poem]:
        """Draw poems. A larger count with the same seed begins with the same poems.

        Args:
            count: The number of poems, 0 or more.
            seed: The seed, 0 or more. Different seeds give independent poems.
        """
        length = self.lines * self.words_a_line
        draws = np.random.default_rng(seed).random((count, _CHOICES + length))
        tokens = np.empty((count, length), dtype=np.int64)
        for start in range(0, count, CHUNK):
            tokens[start : start + CHUNK] = self._sample(draws[start : start + CHUNK])
        texts = np.array(self.vocabulary)[tokens].reshape(count, self.lines, self.words_a_line)
        return [tuple(map(tuple, poem)) for poem in texts.tolist()]

    def log_probabilities(self, poems: Sequence[Poem]) -> np.ndarray:
        """Return the log-probability of every token given the tokens before it, summed over all hidden choices.

        Args:
            poems: Tuples of lines of words. The words need not be in the vocabulary.

        Returns:
            float64 [poems, lines * (words a line + 1)], in nats: the words of each line, then the end of the line
            (the last one is the end of the poem). Ends are certain: 0. A token that the grammar could not have written
            after the tokens before it is -inf, and so is every token behind it.

        Raises:
            DataError: A poem has another number of lines, or a line another number of words.
        """
        shape = [self.words_a_line] * self.lines
        for number, poem in enumerate(poems):
            line_lengths = [len(line) for line in poem]
            if line_lengths != shape:
                raise DataError(f"verse: poem {number}: lines of {shape} words expected, {line_lengths} found")

        words = [self._encode(tuple(chain(*poem))) for poem in poems]
        tokens = np.array(words, dtype=np.int64).reshape(len(poems), sum(shape))
        scores = np.empty(tokens.shape)
        for start in range(0, len(poems), CHUNK):
            scores[start : start + CHUNK] = self._score(tokens[start : start + CHUNK])
        by_line = scores.reshape(len(poems), self.lines, self.words_a_line)
        ends = np.where(np.isneginf(by_line[:, :, -1:]), -np.inf, 0.0)
        return np.concatenate([by_line, ends], axis=2).reshape(len(poems), sum(shape) + self.lines)

    def next_distribution(self, prefix: Sequence[str]) -> np.ndarray:
        """Return the probability that each word is the next.

        Args:
            prefix: The words so far without the line ends, fewer than a poem has.

        Returns:
            float64 [V], in the order of `vocabulary`; all 0 after a prefix that the grammar cannot write.
        """
        size = len(self.words)
        before = np.tile(np.array(self._encode(prefix), dtype=np.int64), (size, 1))
        continuations = np.column_stack([before, np.arange(size)])
        return np.exp(self._score(continuations)[:, -1])

    def broken_rules(self, poem: Poem) -> list[str]:
        """Return one message per broken rule. There is none if and only if the grammar can write the poem.

        Each message begins with the name of the rule: `shape`, `word`, `syntax`, `metre`, `parallel` or `rhyme`. A
        poem is compared with the metre, the syntax and the scheme that it breaks least. A poem of the wrong shape is
        not checked further.
        """
        return broken_rules(self, poem)

    @cached_property
    def _tables(self) -> _Tables:
        """The grammar as arrays."""
        categories = list(dict.fromkeys(word.category for word in self.words))
        category_rows = {category: row for row, category in enumerate(categories)}
        kind_rows = {kind: row for row, kind in enumerate(self.kinds, start=len(categories))}
        category = np.array([*(category_rows[word.category] for word in self.words), -1])
        family_rows = [category_rows[name] for name in self.families]
        family = np.where(np.isin(category, family_rows), category, -1)
        slots = self._slots(category, category_rows)
        weights = self._weights(category, category_rows)
        kinds = np.array(self.syntaxes)
        syntax = np.array([kind_rows[kind] for kind in kinds.flat]).reshape(kinds.shape)
        return _Tables(
            row={text: row for row, text in enumerate(self.vocabulary)},
            category=category,
            family=family,
            ends=np.flatnonzero(family >= 0),
            partner=np.array([category_rows[self.partners.get(name, name)] for name in categories]),
            syntax=syntax,
            metre=np.array(self.metres),
            slots=slots,
            weights=weights,
            totals=np.einsum("gnv,spv->gnsp", slots.astype(float), weights, optimize=True),
        )

    def _slots(self, category: np.ndarray, category_rows: dict[str, int]) -> np.ndarray:
        """Return the words of each category or kind with each number of syllables, bool [G, syllables, V+1].

        Args:
            category: The row of each word's category, int [V+1].
            category_rows: The row of each category by name.
        """
        syllables = np.array([*(word.syllables for word in self.words), -1])
        has_syllables = syllables == np.arange(syllables.max() + 1)[:, None]
        groups = [(name,) for name in category_rows] + list(self.kinds.values())
        in_group = []
        for names in groups:
            rows = [category_rows[name] for name in names]
            in_group.append(np.isin(category, rows))
        return np.array(in_group)[:, None, :] & has_syllables

    def _weights(self, category: np.ndarray, category_rows: dict[str, int]) -> np.ndarray:
        """Return the weight by theme, word before and word, float64 [S, V+1, V+1].

        Args:
            category: The row of each word's category, int [V+1].
            category_rows: The row of each category by name.
        """
        initial = np.array([*(word.text[0] for word in self.words), ""])
        alliterates = (initial[:, None] == initial) & (initial != "")
        weights = np.where(alliterates, self.alliteration, 1.0)
        for (before, after), factor in self.affinities.items():
            is_before = category == category_rows[before]
            is_after = category == category_rows[after]
            weights[np.ix_(is_before, is_after)] *= factor
        weights = weights * np.array([*(word.weight for word in self.words), 0.0])
        texts = np.array([*self.vocabulary, ""])
        preferred = np.array([np.isin(texts, list(words)) for words in self.themes.values()])
        return weights * np.where(preferred, self.theme_factor, 1.0)[:, None, :]

    def _encode(self, words: Sequence[str]) -> list[int]:
        """Return the indices of words, V for a word that is not in the vocabulary."""
        row = self._tables.row
        return [row.get(word, len(row)) for word in words]

    def _groups(self, tokens: np.ndarray, line: int, position: int) -> np.ndarray:
        """Return the rows of `slots` to draw a word from, under every syntax: int [poems, syntaxes]."""
        tables = self._tables
        shape = (len(tokens), len(self.syntaxes))
        if line < self.lines - 1:
            return np.broadcast_to(tables.syntax[:, line, position], shape)
        answered = tokens[:, (line - 1) * self.words_a_line + position]
        partner = tables.partner[tables.category[answered]]
        return np.broadcast_to(partner[:, None], shape)

    def _rhymes(self, tokens: np.ndarray, scheme: str, line: int) -> np.ndarray:
        """Return the words that may end a line under a scheme, given the lines before: bool [poems, V+1]."""
        family = self._tables.family
        allowed = np.tile(family >= 0, (len(tokens), 1))
        for earlier in range(line):
            end = tokens[:, (earlier + 1) * self.words_a_line - 1]
            rhymes = family == family[end][:, None]
            must_rhyme = scheme[earlier] == scheme[line]
            allowed &= rhymes if must_rhyme else ~rhymes
            allowed[np.arange(len(tokens)), end] = False
        return allowed

    def _sample(self, draws: np.ndarray) -> np.ndarray:
        """Draw poems by the inverse distribution function.

        Args:
            draws: Uniform numbers from [0, 1), float64 [poems, 4 + words]: for the hidden choices, then for the words.

        Returns:
            The words, int [poems, words].
        """
        tables = self._tables
        poems = np.arange(len(draws))
        sizes = (len(self.metres), len(self.syntaxes), len(self.themes), len(self.schemes))
        metre, syntax, theme, scheme = (draws[:, :_CHOICES] * sizes).astype(np.int64).T
        tokens = np.empty((len(draws), draws.shape[1] - _CHOICES), dtype=np.int64)
        for step in range(tokens.shape[1]):
            line, position = divmod(step, self.words_a_line)
            if position < self.words_a_line - 1:
                group = self._groups(tokens, line, position)[poems, syntax]
                allowed = tables.slots[group, tables.metre[metre, line, position]]
            else:
                by_scheme = np.stack([self._rhymes(tokens, letters, line) for letters in self.schemes])
                allowed = by_scheme[scheme, poems]
            before = tokens[:, step - 1] if position else len(self.words)
            cumulative = np.cumsum(tables.weights[theme, before] * allowed, axis=1)
            threshold = draws[:, _CHOICES + step, None] * cumulative[:, -1:]
            tokens[:, step] = np.sum(cumulative <= threshold, axis=1)
        return tokens

    def _score(self, tokens: np.ndarray) -> np.ndarray:
        """Return the log-probabilities, float64 [poems, words], of complete poems or their beginnings.

        Args:
            tokens: The words, int [poems, words].
        """
        shape = (len(self.metres), len(self.syntaxes), len(self.themes), len(self.schemes))
        joint = np.full((len(tokens), *shape), 1 / math.prod(shape))  # p(choices, words so far)
        totals = np.ones((len(tokens), tokens.shape[1] + 1))
        for step in range(tokens.shape[1]):
            joint *= self._likelihood(tokens, step)
            totals[:, step + 1] = joint.reshape(len(tokens), -1).sum(axis=1)
        possible = totals > 0
        safe = np.where(possible, totals, 1.0)
        return np.where(possible[:, 1:], np.log(safe[:, 1:] / safe[:, :-1]), -np.inf)

    def _likelihood(self, tokens: np.ndarray, step: int) -> np.ndarray:
        """Return p(word | choices, words before) of the word at `step`.

        Returns:
            float64 [poems, metres, syntaxes, themes, schemes]. An axis has size 1 if the word does not depend on it.
        """
        tables = self._tables
        count = len(tokens)
        line, position = divmod(step, self.words_a_line)
        word = tokens[:, step]
        before = tokens[:, step - 1] if position else np.full(count, len(self.words))
        weight = tables.weights[:, before, word].T
        if position < self.words_a_line - 1:
            group = self._groups(tokens, line, position)[:, None, :]
            syllables = tables.metre[:, line, position][:, None]
            allowed = tables.slots[group, syllables, word[:, None, None]]
            total = tables.totals[group, syllables, :, before[:, None, None]][..., None]
            share = weight[:, None, None, :, None] * allowed[..., None, None]
        else:
            rhymes = np.stack([self._rhymes(tokens, scheme, line) for scheme in self.schemes], axis=1)
            weights = tables.weights[:, before][:, :, tables.ends]
            total = np.einsum("spe,pre->psr", weights, rhymes[:, :, tables.ends])[:, None, None]
            share = weight[:, :, None] * rhymes[np.arange(count), :, word][:, None]
            share = share[:, None, None]
        zeros = np.zeros(np.broadcast_shapes(share.shape, total.shape))
        return np.divide(share, total, out=zeros, where=total > 0)


def _english_verse() -> VerseGrammar:
    """Build the grammar from the word lists of `verse_words`."""
    answered = {answer: category for category, answer in english.PARTNERS.items()}
    syntaxes = []
    for syntax in english.SYNTAXES:
        syntaxes.append(tuple(tuple(line.split()) for line in syntax))
    metres = []
    for metre in english.METRES:
        metres.append(tuple(tuple(map(int, line)) for line in metre))
    return VerseGrammar(
        words=english.WORDS,
        families=tuple(english.RHYMES),
        kinds=english.KINDS,
        partners=english.PARTNERS | answered,
        syntaxes=tuple(syntaxes),
        metres=tuple(metres),
        schemes=english.SCHEMES,
        themes={theme: frozenset(words.split()) for theme, words in english.THEMES.items()},
        affinities=english.AFFINITIES,
    )


ENGLISH_VERSE = _english_verse()
"""Quatrains of five words a line over 320 English words."""
