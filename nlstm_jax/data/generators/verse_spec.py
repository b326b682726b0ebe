"""The rules of a verse as plain data, without the code that checks them or writes by them."""

from collections.abc import Mapping
from dataclasses import dataclass

from nlstm_jax.data.generators.verse_words import Word


@dataclass(frozen=True, eq=False)
class VerseSpec:
    """The rules of a verse as plain data.

    Attributes:
        words: The vocabulary. Words of a category named in `families` end lines and occur nowhere else.
        families: The categories whose words rhyme with each other.
        kinds: The categories of words that each kind of position inside a line accepts.
        partners: The category in the last line that answers each category in the last line but one.
        syntaxes: The kinds of the words before a line's end, one tuple of lines per syntax.
        metres: The syllable counts of the same words, one tuple of lines per metre.
        schemes: One string per rhyme scheme, with one letter per line. Lines rhyme if and only if their letters are
            equal.
        themes: The words that each theme prefers.
        affinities: The factors on a word's weight, by (category of the word before, category of the word).
        theme_factor: The factor on the weight of the words that the theme prefers.
        alliteration: The factor on the weight of a word that begins with the same letter as the word before.
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

    @property
    def lines(self) -> int:
        """The number of lines of a poem."""
        return len(self.schemes[0])

    @property
    def words_a_line(self) -> int:
        """The number of words of every line, its end included."""
        return len(self.metres[0][0]) + 1

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The text of every word, in the order of `words`."""
        return tuple(word.text for word in self.words)
