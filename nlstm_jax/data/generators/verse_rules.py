"""Checks of the rules of a verse: that a poem keeps them, and that they do not contradict each other."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, product

from nlstm_jax.data.generators.verse_spec import VerseSpec
from nlstm_jax.data.generators.verse_words import Word
from nlstm_jax.data.poems import Poem


def broken_rules(spec: VerseSpec, poem: Poem) -> list[str]:
    """Return one message per broken rule, see `VerseGrammar.broken_rules`."""
    shape = [len(line) for line in poem]
    if shape != [spec.words_a_line] * spec.lines:
        return [f"shape: {spec.lines} lines of {spec.words_a_line} words expected, found {shape}"]
    known = {word.text: word for word in spec.words}
    lines = []
    for line in poem:
        lines.append([known.get(text, Word(text, "", 0)) for text in line])

    broken = [f"word: '{text}' is not in the vocabulary" for text in chain(*poem) if text not in known]
    broken += _shortest(_broken_syntax(spec, lines, syntax) for syntax in spec.syntaxes)
    broken += _shortest(_broken_metre(lines, metre) for metre in spec.metres)
    for word, answer in zip(lines[-2][:-1], lines[-1][:-1], strict=True):
        if spec.partners.get(word.category) != answer.category:
            broken.append(f"parallel: '{answer.text}' does not answer '{word.text}'")
    broken += _shortest(_broken_rhymes(spec, lines, scheme) for scheme in spec.schemes)
    return broken


def contradictions(spec: VerseSpec) -> Iterator[str]:
    """Yield one message per contradiction between the rules.

    Each check assumes that the checks before it have passed, so only the first message is reliable.
    """
    yield from _wrong_shapes(spec)
    yield from _wrong_words(spec)
    yield from _empty_positions(spec)
    yield from _impossible_schemes(spec)


def _wrong_shapes(spec: VerseSpec) -> Iterator[str]:
    """Yield messages about numbers of lines, words and themes that do not fit."""
    shapes = {tuple(map(len, plan)) for plan in (*spec.syntaxes, *spec.metres)}
    scheme_lengths = {len(scheme) for scheme in spec.schemes}
    if shapes != {(spec.words_a_line - 1,) * spec.lines} or scheme_lengths != {spec.lines}:
        yield "syntaxes, metres and schemes must agree in lines and in words a line"
    if spec.lines < 2 or not spec.themes:
        yield f"2 lines and 1 theme at least expected, found {spec.lines} and {len(spec.themes)}"


def _wrong_words(spec: VerseSpec) -> Iterator[str]:
    """Yield messages about repeated words, categories and themes without their words, and weights of 0 or less."""
    if len(set(spec.vocabulary)) < len(spec.words):
        yield f"'{Counter(spec.vocabulary).most_common(1)[0][0]}' stands twice among the words"
    categories = {word.category for word in spec.words}
    named = {*spec.families, *spec.partners.values(), *chain(*spec.kinds.values(), *spec.affinities)}
    if not named <= categories:
        yield f"no word is of the categories {sorted(named - categories)}"
    for theme, words in spec.themes.items():
        if not words <= set(spec.vocabulary):
            yield f"theme '{theme}' has unknown words {sorted(words.difference(spec.vocabulary))}"
    factors = [*spec.affinities.values(), *(word.weight for word in spec.words)]
    if min(spec.theme_factor, spec.alliteration, *factors) <= 0:
        yield "weights and factors must be positive"


def _empty_positions(spec: VerseSpec) -> Iterator[str]:
    """Yield messages about positions that no word fits, under some syntax and metre."""
    available = {(word.category, word.syllables) for word in spec.words}
    for syntax, metre in product(spec.syntaxes, spec.metres):
        if syntax[-1] != syntax[-2]:
            yield f"the last two lines must be of one syntax, found {syntax[-2:]}"
        for kind, syllables in zip(chain(*syntax), chain(*metre), strict=True):
            if not any((category, syllables) in available for category in spec.kinds[kind]):
                yield f"no {kind} has {syllables} syllables"
        for kind, syllables in zip(syntax[-1], metre[-1], strict=True):
            for category in spec.kinds[kind]:
                partner = spec.partners.get(category)
                if partner not in spec.kinds[kind] or (partner, syllables) not in available:
                    yield f"'{category}' needs a partner among {kind} with words of {syllables} syllables"


def _impossible_schemes(spec: VerseSpec) -> Iterator[str]:
    """Yield messages about schemes that need more families, or more words of a family, than there are."""
    sizes = Counter(word.category for word in spec.words if word.category in spec.families)
    for scheme in spec.schemes:
        letters = Counter(scheme)
        if len(letters) > len(sizes) or max(letters.values()) > min(sizes.values()):
            yield f"scheme {scheme} needs more rhymes than {dict(sizes)}"


def _broken_syntax(spec: VerseSpec, lines: list[list[Word]], syntax: tuple[tuple[str, ...], ...]) -> list[str]:
    """Return messages about the words that are not of the kind that the syntax demands."""
    return [
        f"syntax: line {line_number} word '{word.text}' is no {kind}"
        for line_number, (line, kinds) in enumerate(zip(lines, syntax, strict=True), start=1)
        for word, kind in zip(line[:-1], kinds, strict=True)
        if word.category not in spec.kinds[kind]
    ]


def _broken_rhymes(spec: VerseSpec, lines: list[list[Word]], scheme: str) -> list[str]:
    """Return messages about line ends that do not rhyme as the scheme demands."""
    ends = [line[-1] for line in lines]
    broken = []
    for later, word in enumerate(ends):
        if word.category not in spec.families:
            broken.append(f"rhyme: line {later + 1} ends in '{word.text}', no word that rhymes")
        for earlier, earlier_word in enumerate(ends[:later]):
            rhymes = word.category == earlier_word.category
            must_rhyme = scheme[earlier] == scheme[later]
            if word.text == earlier_word.text or rhymes != must_rhyme:
                lines_text = f"line {later + 1} ends in '{word.text}', line {earlier + 1} in '{earlier_word.text}'"
                broken.append(f"rhyme: {lines_text}, by the scheme {scheme}")
    return broken


def _broken_metre(lines: list[list[Word]], metre: tuple[tuple[int, ...], ...]) -> list[str]:
    """Return messages about the words that do not have the number of syllables that the metre demands."""
    return [
        f"metre: line {line_number} word '{word.text}' has {word.syllables} syllables, {syllables} expected"
        for line_number, (line, counts) in enumerate(zip(lines, metre, strict=True), start=1)
        for word, syllables in zip(line[:-1], counts, strict=True)
        if word.syllables != syllables
    ]


def _shortest(messages: Iterable[list[str]]) -> list[str]:
    """Return the shortest list of messages."""
    return min(messages, key=len)
