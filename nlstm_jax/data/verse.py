"""Verse under fixed rules, by a generator that knows the exact probability of every token it wrote.

A poem has four choices that no word names: a metre (syllables, line by line), a syntax (kinds of words), a theme and
a rhyme scheme, each drawn uniformly. Given them, every word is drawn from the words that the rules allow there, in
proportion to its weight:

    p(w | choices, words before) = allowed(w) weight(w) / Σ_v allowed(v) weight(v)

Rules reach far, weights reach one word back. The rules: metre and syntax hold in every line; the last line answers
the one before, word for word, from the partner category; line ends rhyme as the scheme says, never on the same word
twice, and ends that need not rhyme must not. A weight is the word's own frequency, times a factor where the theme
prefers the word, where it alliterates with the word before, and where its category follows on that word's.

The choices are few, so a forward pass over all of them gives log p(token | tokens before) exactly: the mean of its
negative is the floor under the log-loss of any model of this verse.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, permutations
from typing import NamedTuple

import numpy as np

from nlstm_jax.data import verse_words as english
from nlstm_jax.data.poems import Poem
from nlstm_jax.data.verse_rules import broken_rules, contradictions
from nlstm_jax.data.verse_words import Word
from nlstm_jax.errors import DataError

CHUNK = 1024  # poems at a time: the pass over all choices then stays within a few megabytes


class _Tables(NamedTuple):
    """The grammar as arrays: V words and, at V, "none of them"; G categories, then kinds; S themes."""

    row: dict[str, int]
    category: np.ndarray  # int [V+1], -1 for none
    family: np.ndarray  # int [V+1], the category of a word that ends lines, -1 for all others
    ends: np.ndarray  # int [E], the words that end lines
    partner: np.ndarray  # int [G], the category that answers
    syntax: np.ndarray  # int [syntaxes, lines, words before the end], rows of `slots`
    metre: np.ndarray  # int [metres, lines, words before the end], syllables
    slots: np.ndarray  # bool [G, syllables, V+1], the words of a category or kind
    weights: np.ndarray  # float64 [S, V+1, V+1], theme, word before (V at a line's start), word
    totals: np.ndarray  # float64 [G, syllables, S, V+1], the weights of a slot's words after each word


@dataclass(frozen=True, eq=False)
class VerseGrammar:
    """The rules of a verse as plain data; `ENGLISH_VERSE` is the one that experiments use.

    Attributes:
        words: the vocabulary. Words of a category named in `families` end lines and stand nowhere else.
        families: the categories whose words rhyme with each other.
        kinds: what a place inside a line may ask for → the categories that answer it.
        partners: category in the last line but one → category that answers it in the last.
        syntaxes: each a tuple of lines, each a tuple of kinds, for the words before a line's end.
        metres: each a tuple of lines, each a tuple of syllable counts, for the same words.
        schemes: each a string with a letter a line; lines of the same letter rhyme, of different ones do not.
        themes: theme → the words it prefers.
        affinities: (category before, category) → factor on the weight.
        theme_factor: how many times likelier a theme makes its words.
        alliteration: how many times likelier a word is that begins with the letter of the word before.

    Raises:
        ValueError: the rules contradict each other, or leave a place without a word.

    Example:
        >>> poem = ENGLISH_VERSE.sample(1, seed=3)[0]
        >>> ENGLISH_VERSE.broken_rules(poem)
        []
        >>> ENGLISH_VERSE.log_probabilities([poem]).shape
        (1, 24)
    """

    words: tuple[Word, ...]
    families: tuple[str, ...]
    kinds: Mapping[str, tuple[str, ...]]
    partners: Mapping[str, str]
    syntaxes: tuple[tuple[tuple[str, ...], ...], ...]
    metres: tuple[tuple[tuple[int, ...], ...], ...]
    schemes: tuple[str, ...]
    themes: Mapping[str, frozenset[str]]
    affinities: Mapping[tuple[str, str], float]
    theme_factor: float = 4.0
    alliteration: float = 3.0

    def __post_init__(self) -> None:
        for problem in contradictions(self):
            raise ValueError(f"verse grammar: {problem}")

    @property
    def lines(self) -> int:
        """Lines of a poem."""
        return len(self.schemes[0])

    @property
    def words_a_line(self) -> int:
        """Words of every line, its end included."""
        return len(self.metres[0][0]) + 1

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The text of every word, in the order of `words`."""
        return tuple(word.text for word in self.words)

    def count_poems(self) -> int:
        """How many poems the first metre, syntax and scheme allow: all of them if there are no others, else fewer."""
        size = Counter((word.category, word.syllables) for word in self.words)
        families = Counter(word.category for word in self.words if word.category in self.families)
        syntax, metre, lines = self.syntaxes[0], self.metres[0], Counter(self.schemes[0]).values()
        free = [
            sum(size[name, syllables] for name in self.kinds[kind])
            for kind, syllables in zip(chain(*syntax[:-2]), chain(*metre[:-2]), strict=True)
        ]
        couplet = [
            sum(size[name, asked] * size[self.partners[name], answer] for name in self.kinds[kind])
            for kind, asked, answer in zip(syntax[-1], metre[-2], metre[-1], strict=True)
        ]
        rhymes = permutations(families.values(), len(lines))
        ends = sum(math.prod(map(math.perm, sizes, lines)) for sizes in rhymes)
        return math.prod(free + couplet) * ends

    def sample(self, count: int, seed: int) -> list[Poem]:
        """Draw poems; a larger count with the same seed begins with the same poems.

        Args:
            count: how many, 0 or more.
            seed: 0 or more; different seeds give independent poems.
        """
        length = self.lines * self.words_a_line
        draws = np.random.default_rng(seed).random((count, 4 + length))
        tokens = np.empty((count, length), dtype=np.int64)
        for start in range(0, count, CHUNK):
            tokens[start : start + CHUNK] = self._sample(draws[start : start + CHUNK])
        texts = np.array(self.vocabulary)[tokens].reshape(count, self.lines, self.words_a_line)
        return [tuple(map(tuple, poem)) for poem in texts.tolist()]

    def log_probabilities(self, poems: Sequence[Poem]) -> np.ndarray:
        """The log-probability of every token given those before it, all hidden choices summed out.

        Args:
            poems: tuples of lines of words; the words need not be in the vocabulary.

        Returns:
            float64 [poems, lines * (words a line + 1)], in nats: the words of each line, then its end (the last
            one is the poem's). Ends are certain: 0. A token that the grammar could not have written after those
            before it is -inf, and so is every token behind it.

        Raises:
            DataError: a poem has another number of lines, or a line another number of words.
        """
        shape = [self.words_a_line] * self.lines
        for number, poem in enumerate(poems):
            if [len(line) for line in poem] != shape:
                found = [len(line) for line in poem]
                raise DataError(f"verse: poem {number}: lines of {shape} words expected, {found} found")
        words = [self._encode(tuple(chain(*poem))) for poem in poems]
        tokens = np.array(words, dtype=np.int64).reshape(len(poems), sum(shape))
        scores = np.empty(tokens.shape)
        for start in range(0, len(poems), CHUNK):
            scores[start : start + CHUNK] = self._score(tokens[start : start + CHUNK])
        by_line = scores.reshape(len(poems), self.lines, self.words_a_line)
        ends = np.where(np.isneginf(by_line[:, :, -1:]), -np.inf, 0.0)
        return np.concatenate([by_line, ends], axis=2).reshape(len(poems), sum(shape) + self.lines)

    def next_distribution(self, prefix: Sequence[str]) -> np.ndarray:
        """The probability of every word to be the next.

        Args:
            prefix: the words so far without the line ends, fewer than a poem has.

        Returns:
            float64 [V], in the order of `vocabulary`; all 0 after a prefix that the grammar cannot write.
        """
        size = len(self.words)
        before = np.tile(np.array(self._encode(prefix), dtype=np.int64), (size, 1))
        return np.exp(self._score(np.column_stack([before, np.arange(size)]))[:, -1])

    def broken_rules(self, poem: Poem) -> list[str]:
        """One line a breach, each opening with the rule's name; empty if and only if the grammar can write the poem.

        The rules are `shape`, `word`, `syntax`, `metre`, `parallel` and `rhyme`. A poem is held to the metre, syntax
        and scheme that it breaks least; one of the wrong shape is not looked at further.
        """
        return broken_rules(self, poem)

    @cached_property
    def _tables(self) -> _Tables:
        categories = list(dict.fromkeys(word.category for word in self.words))
        rows = {name: row for row, name in enumerate(categories)}
        kind_rows = {kind: row for row, kind in enumerate(self.kinds, start=len(categories))}
        category = np.array([*(rows[word.category] for word in self.words), -1])
        syllables = np.array([*(word.syllables for word in self.words), -1])
        members = [(name,) for name in categories] + list(self.kinds.values())
        of_group = np.array([np.isin(category, [rows[name] for name in names]) for names in members])
        of_length = syllables == np.arange(syllables.max() + 1)[:, None]
        slots = of_group[:, None, :] & of_length

        initial = np.array([*(word.text[0] for word in self.words), ""])
        weights = np.where((initial[:, None] == initial) & (initial != ""), self.alliteration, 1.0)
        for (before, after), factor in self.affinities.items():
            weights[np.ix_(category == rows[before], category == rows[after])] *= factor
        weights = weights * np.array([*(word.weight for word in self.words), 0.0])
        favoured = [[word in words for word in (*self.vocabulary, "")] for words in self.themes.values()]
        weights = weights * np.where(favoured, self.theme_factor, 1.0)[:, None, :]

        family = np.where(np.isin(category, [rows[name] for name in self.families]), category, -1)
        return _Tables(
            row={text: row for row, text in enumerate(self.vocabulary)},
            category=category,
            family=family,
            ends=np.flatnonzero(family >= 0),
            partner=np.array([rows[self.partners.get(name, name)] for name in categories]),
            syntax=np.array([[[kind_rows[kind] for kind in line] for line in plan] for plan in self.syntaxes]),
            metre=np.array(self.metres),
            slots=slots,
            weights=weights,
            totals=np.einsum("gnv,spv->gnsp", slots.astype(float), weights, optimize=True),
        )

    def _encode(self, words: Sequence[str]) -> list[int]:
        row = self._tables.row
        return [row.get(word, len(row)) for word in words]

    def _groups(self, tokens: np.ndarray, line: int, place: int) -> np.ndarray:
        """The rows of `slots` to draw from, under every syntax: int [poems, syntaxes]."""
        tables = self._tables
        if line < self.lines - 1:
            return np.broadcast_to(tables.syntax[:, line, place], (len(tokens), len(self.syntaxes)))
        answered = tokens[:, (line - 1) * self.words_a_line + place]
        partner = tables.partner[tables.category[answered]]
        return np.broadcast_to(partner[:, None], (len(tokens), len(self.syntaxes)))

    def _rhymes(self, tokens: np.ndarray, scheme: str, line: int) -> np.ndarray:
        """The words that may end a line under a scheme, given the lines before: bool [poems, V+1]."""
        family = self._tables.family
        allowed = np.tile(family >= 0, (len(tokens), 1))
        for earlier in range(line):
            end = tokens[:, (earlier + 1) * self.words_a_line - 1]
            rhyme = family == family[end][:, None]
            allowed &= rhyme if scheme[earlier] == scheme[line] else ~rhyme
            allowed[np.arange(len(tokens)), end] = False
        return allowed

    def _sample(self, draws: np.ndarray) -> np.ndarray:
        """Poems int [poems, words] by the inverse distribution function of draws from [0, 1), 4 + words a poem."""
        tables, rows = self._tables, np.arange(len(draws))
        sizes = (len(self.metres), len(self.syntaxes), len(self.themes), len(self.schemes))
        metre, syntax, theme, scheme = (draws[:, :4] * sizes).astype(np.int64).T
        tokens = np.empty((len(draws), draws.shape[1] - 4), dtype=np.int64)
        for step in range(tokens.shape[1]):
            line, place = divmod(step, self.words_a_line)
            if place < self.words_a_line - 1:
                group = self._groups(tokens, line, place)[rows, syntax]
                allowed = tables.slots[group, tables.metre[metre, line, place]]
            else:
                allowed = np.stack([self._rhymes(tokens, letters, line) for letters in self.schemes])
                allowed = allowed[scheme, rows]
            before = tokens[:, step - 1] if place else len(self.words)
            cumulative = np.cumsum(tables.weights[theme, before] * allowed, axis=1)
            tokens[:, step] = np.sum(cumulative <= draws[:, 4 + step, None] * cumulative[:, -1:], axis=1)
        return tokens

    def _score(self, tokens: np.ndarray) -> np.ndarray:
        """Log-probabilities, float64 [poems, words], of words int [poems, words]: whole poems or their beginnings."""
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
        """p(word | choices, words before), float64 [poems, metres, syntaxes, themes, schemes], 1 where one is idle."""
        tables, count = self._tables, len(tokens)
        line, place = divmod(step, self.words_a_line)
        word = tokens[:, step]
        before = tokens[:, step - 1] if place else np.full(count, len(self.words))
        weight = tables.weights[:, before, word].T
        if place < self.words_a_line - 1:
            group = self._groups(tokens, line, place)[:, None, :]
            syllables = tables.metre[:, line, place][:, None]
            allowed = tables.slots[group, syllables, word[:, None, None]]
            total = tables.totals[group, syllables, :, before[:, None, None]][..., None]
            share = weight[:, None, None, :, None] * allowed[..., None, None]
        else:
            rhymes = np.stack([self._rhymes(tokens, scheme, line) for scheme in self.schemes], axis=1)
            weights = tables.weights[:, before][:, :, tables.ends]
            total = np.einsum("spe,pre->psr", weights, rhymes[:, :, tables.ends])[:, None, None]
            share = weight[:, :, None] * rhymes[np.arange(count), :, word][:, None]
            share = share[:, None, None]
        none = np.zeros(np.broadcast_shapes(share.shape, total.shape))
        return np.divide(share, total, out=none, where=total > 0)


ENGLISH_VERSE = VerseGrammar(
    words=english.WORDS,
    families=tuple(english.RHYMES),
    kinds=english.KINDS,
    partners=english.PARTNERS | {answer: asked for asked, answer in english.PARTNERS.items()},
    syntaxes=tuple(tuple(tuple(line.split()) for line in plan) for plan in english.SYNTAXES),
    metres=tuple(tuple(tuple(map(int, line)) for line in plan) for plan in english.METRES),
    schemes=english.SCHEMES,
    themes={theme: frozenset(words.split()) for theme, words in english.THEMES.items()},
    affinities=english.AFFINITIES,
)
"""Quatrains of five words a line over 320 English words."""
