"""Whether a poem keeps the rules of a verse, and whether the rules agree with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, product
from typing import TYPE_CHECKING

from nlstm_jax.data.verse_words import Word

if TYPE_CHECKING:
    from nlstm_jax.data.poems import Poem
    from nlstm_jax.data.verse import VerseGrammar


def broken_rules(grammar: VerseGrammar, poem: Poem) -> list[str]:
    """See `VerseGrammar.broken_rules`."""
    shape = [len(line) for line in poem]
    if shape != [grammar.words_a_line] * grammar.lines:
        return [f"shape: {grammar.lines} lines of {grammar.words_a_line} words expected, found {shape}"]
    known = {word.text: word for word in grammar.words}
    lines = [[known.get(text, Word(text, "", 0)) for text in line] for line in poem]
    broken = [f"word: '{text}' is not in the vocabulary" for text in chain(*poem) if text not in known]
    broken += _fewest(_syntax_breaches(grammar, lines, syntax) for syntax in grammar.syntaxes)
    broken += _fewest(_metre_breaches(lines, metre) for metre in grammar.metres)
    for asked, answer in zip(lines[-2][:-1], lines[-1][:-1], strict=True):
        if grammar.partners.get(asked.category) != answer.category:
            broken.append(f"parallel: '{answer.text}' does not answer '{asked.text}'")
    return broken + _fewest(_rhyme_breaches(grammar, lines, scheme) for scheme in grammar.schemes)


def contradictions(grammar: VerseGrammar) -> Iterator[str]:
    """What is wrong with the rules; a later check rests on those before."""
    plans = {tuple(map(len, plan)) for plan in (*grammar.syntaxes, *grammar.metres)}
    if plans != {(grammar.words_a_line - 1,) * grammar.lines} or {*map(len, grammar.schemes)} != {grammar.lines}:
        yield "syntaxes, metres and schemes must agree in lines and in words a line"
    if grammar.lines < 2 or not grammar.themes:
        yield f"2 lines and 1 theme at least expected, found {grammar.lines} and {len(grammar.themes)}"
    if len(set(grammar.vocabulary)) < len(grammar.words):
        yield f"'{Counter(grammar.vocabulary).most_common(1)[0][0]}' stands twice among the words"
    categories = {word.category for word in grammar.words}
    named = {*grammar.families, *grammar.partners.values(), *chain(*grammar.kinds.values(), *grammar.affinities)}
    if not named <= categories:
        yield f"no word is of the categories {sorted(named - categories)}"
    for theme, words in grammar.themes.items():
        if not words <= set(grammar.vocabulary):
            yield f"theme '{theme}' has unknown words {sorted(words.difference(grammar.vocabulary))}"
    factors = [*grammar.affinities.values(), *(word.weight for word in grammar.words)]
    if min(grammar.theme_factor, grammar.alliteration, *factors) <= 0:
        yield "weights and factors must be positive"
    filled = {(word.category, word.syllables) for word in grammar.words}
    for syntax, metre in product(grammar.syntaxes, grammar.metres):
        if syntax[-1] != syntax[-2]:
            yield f"the last two lines must be of one syntax, found {syntax[-2:]}"
        for kind, syllables in zip(chain(*syntax), chain(*metre), strict=True):
            if not any((category, syllables) in filled for category in grammar.kinds[kind]):
                yield f"no {kind} has {syllables} syllables"
        for kind, syllables in zip(syntax[-1], metre[-1], strict=True):
            for category in grammar.kinds[kind]:
                partner = grammar.partners.get(category)
                if partner not in grammar.kinds[kind] or (partner, syllables) not in filled:
                    yield f"'{category}' needs a partner among {kind} with words of {syllables} syllables"
    sizes = Counter(word.category for word in grammar.words if word.category in grammar.families)
    for scheme in grammar.schemes:
        letters = Counter(scheme)
        if len(letters) > len(sizes) or max(letters.values()) > min(sizes.values()):
            yield f"scheme {scheme} needs more rhymes than {dict(sizes)}"


def _syntax_breaches(grammar: VerseGrammar, lines: list[list[Word]], syntax: tuple[tuple[str, ...], ...]) -> list[str]:
    return [
        f"syntax: line {number} word '{word.text}' is no {kind}"
        for number, (line, kinds) in enumerate(zip(lines, syntax, strict=True), start=1)
        for word, kind in zip(line[:-1], kinds, strict=True)
        if word.category not in grammar.kinds[kind]
    ]


def _rhyme_breaches(grammar: VerseGrammar, lines: list[list[Word]], scheme: str) -> list[str]:
    ends = [line[-1] for line in lines]
    broken = []
    for later, word in enumerate(ends):
        if word.category not in grammar.families:
            broken.append(f"rhyme: line {later + 1} ends in '{word.text}', no word that rhymes")
        for earlier, other in enumerate(ends[:later]):
            rhyme = word.category == other.category
            if word.text == other.text or rhyme != (scheme[earlier] == scheme[later]):
                place = f"line {later + 1} ends in '{word.text}', line {earlier + 1} in '{other.text}'"
                broken.append(f"rhyme: {place}, by the scheme {scheme}")
    return broken


def _fewest(breaches: Iterable[list[str]]) -> list[str]:
    return min(breaches, key=len)


def _metre_breaches(lines: list[list[Word]], metre: tuple[tuple[int, ...], ...]) -> list[str]:
    return [
        f"metre: line {number} word '{word.text}' has {word.syllables} syllables, {syllables} expected"
        for number, (line, counts) in enumerate(zip(lines, metre, strict=True), start=1)
        for word, syllables in zip(line[:-1], counts, strict=True)
        if word.syllables != syllables
    ]
