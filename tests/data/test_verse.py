"""Verse: probabilities are compared with brute force, samples with probabilities, and poems with rules."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from nlstm_jax.data.generators.verse import ENGLISH_VERSE, Poem, VerseGrammar, Word
from nlstm_jax.errors import DataError

TINY = VerseGrammar(
    words=(
        Word("sun", "day", 1, 2.0),
        Word("noon", "day", 1, 0.5),
        Word("morning", "day", 2),
        Word("moon", "dark", 1),
        Word("evening", "dark", 2, 1.5),
        Word("midnight", "dark", 2),
        Word("rise", "up", 1),
        Word("climb", "up", 1, 0.3),
        Word("ascend", "up", 2),
        Word("sink", "down", 1),
        Word("descend", "down", 2, 3.0),
        Word("sea", "-ee", 1, 2.0),
        Word("tree", "-ee", 1),
        Word("me", "-ee", 1, 0.7),
        Word("night", "-ight", 1),
        Word("sight", "-ight", 1, 0.4),
    ),
    families=("-ee", "-ight"),
    kinds={"noun": ("day", "dark"), "verb": ("up", "down")},
    partners={"day": "dark", "dark": "day", "up": "down", "down": "up"},
    syntaxes=((("noun", "verb"), ("verb", "noun"), ("verb", "noun")), (("noun", "verb"),) * 3),
    metres=(((1, 2), (1, 2), (1, 2)), ((1, 2), (2, 1), (1, 2))),
    schemes=("AAB", "ABA", "ABB"),
    themes={
        "dusk": frozenset({"moon", "evening", "sight"}),
        "dawn": frozenset({"sun", "rise", "tree", "ascend"}),
    },
    affinities={("day", "up"): 2.5, ("up", "-ee"): 1.7, ("dark", "down"): 3.0},
    theme_factor=3.0,
    alliteration=2.0,
)

Prefix = tuple[str, ...]


def tiny_options(metre, syntax, theme: str, scheme: str, prefix: Prefix) -> dict[str, float]:
    """Return the weights of all words allowed after `prefix`, by the rules in the docstring of `verse.py`."""
    words = {word.text: word for word in TINY.words}
    line, place = divmod(len(prefix), 3)
    options = {}
    for word in TINY.words:
        if place == 2:
            ends = prefix[2::3]
            allowed = word.category in TINY.families and word.text not in ends
            for earlier, end in enumerate(ends):
                alike = scheme[earlier] == scheme[line]
                allowed = allowed and (words[end].category == word.category) == alike
        else:
            allowed = word.category in TINY.kinds[syntax[line][place]] and word.syllables == metre[line][place]
            if line == 2:
                allowed = allowed and word.category == TINY.partners[words[prefix[-3]].category]
        if not allowed:
            continue
        weight = word.weight * (TINY.theme_factor if word.text in TINY.themes[theme] else 1.0)
        if place:
            before = words[prefix[-1]]
            weight *= TINY.affinities.get((before.category, word.category), 1.0)
            weight *= TINY.alliteration if before.text[0] == word.text[0] else 1.0
        options[word.text] = weight
    return options


@pytest.fixture(scope="module")
def tiny_prefixes() -> dict[Prefix, float]:
    """Return the probability of every prefix of every poem of `TINY`, by enumerating all choices and all words."""
    found: dict[Prefix, float] = {(): 1.0}
    choices = list(product(TINY.metres, TINY.syntaxes, TINY.themes, TINY.schemes))
    for choice in choices:
        level = {(): 1 / len(choices)}
        for _ in range(9):
            longer = {}
            for prefix, probability in level.items():
                options = tiny_options(*choice, prefix)
                total = sum(options.values())
                for text, weight in options.items():
                    longer[(*prefix, text)] = probability * weight / total
            for prefix, probability in longer.items():
                found[prefix] = found.get(prefix, 0.0) + probability
            level = longer
    return found


def as_poem(words: Prefix) -> Poem:
    return tuple(words[start : start + 3] for start in range(0, len(words), 3))


def flat(poem: Poem) -> Prefix:
    return tuple(word for line in poem for word in line)


def excess(counts: np.ndarray, expected: np.ndarray) -> tuple[float, int]:
    """Return Pearson's chi-square and its degrees of freedom. Cells that expect fewer than 5 are pooled."""
    rare = expected < 5
    pooled = [np.append(values[~rare], values[rare].sum()) for values in (counts, expected)]
    kept = pooled[1] > 0
    assert pooled[0][~kept].sum() == 0
    return float(np.sum((pooled[0] - pooled[1])[kept] ** 2 / pooled[1][kept])), int(kept.sum()) - 1


def test_every_token_of_every_tiny_poem_has_its_brute_force_probability(tiny_prefixes):
    poems = [prefix for prefix in tiny_prefixes if len(prefix) == 9]
    assert len(poems) > 10_000
    assert abs(sum(tiny_prefixes[poem] for poem in poems) - 1) < 1e-12

    scores = TINY.log_probabilities([as_poem(poem) for poem in poems])

    np.testing.assert_allclose(np.exp(scores.sum(axis=1)), [tiny_prefixes[poem] for poem in poems], rtol=1e-12)
    scores = scores.reshape(-1, 3, 4)
    assert (scores[:, :, 3] == 0).all()
    conditional = [[tiny_prefixes[p[: t + 1]] / tiny_prefixes[p[:t]] for t in range(9)] for p in poems]
    np.testing.assert_allclose(scores[:, :, :3].reshape(-1, 9), np.log(conditional), rtol=0, atol=1e-12)


def test_next_distribution_is_the_brute_force_one(tiny_prefixes):
    prefixes = [prefix for prefix in tiny_prefixes if len(prefix) < 9]
    for number in np.random.default_rng(0).choice(len(prefixes), 300, replace=False):
        prefix = prefixes[number]
        expected = [tiny_prefixes.get((*prefix, text), 0.0) / tiny_prefixes[prefix] for text in TINY.vocabulary]
        np.testing.assert_allclose(TINY.next_distribution(prefix), expected, rtol=1e-12, atol=1e-15)
    assert (TINY.next_distribution(("sea",)) == 0).all()
    assert (TINY.next_distribution(("unheard-of",)) == 0).all()


def test_poem_count_is_exact_where_nothing_is_hidden_and_a_bound_elsewhere(tiny_prefixes):
    bound = TINY.count_poems()
    assert 1000 < bound < sum(len(prefix) == 9 for prefix in tiny_prefixes)
    single = replace(TINY, metres=TINY.metres[:1], syntaxes=TINY.syntaxes[:1], schemes=TINY.schemes[:1])
    poems = [as_poem(prefix) for prefix in tiny_prefixes if len(prefix) == 9]
    assert single.count_poems() == bound == np.isfinite(single.log_probabilities(poems)).all(axis=1).sum()


def test_tiny_samples_are_as_frequent_as_they_are_probable():
    poems = [flat(poem) for poem in TINY.sample(30_000, seed=5)]
    statistic, freedom = 0.0, 0
    for length in range(9):
        following: dict[Prefix, list[str]] = {}
        for poem in poems:
            following.setdefault(poem[:length], []).append(poem[length])
        for prefix in sorted(following, key=lambda prefix: -len(following[prefix]))[:12]:
            drawn = following[prefix]
            counts = np.array([drawn.count(text) for text in TINY.vocabulary])
            more, cells = excess(counts, len(drawn) * TINY.next_distribution(prefix))
            statistic, freedom = statistic + more, freedom + cells
    assert freedom > 100
    assert abs(statistic - freedom) < 4 * np.sqrt(2 * freedom)


@pytest.mark.slow
def test_first_words_of_the_english_verse_are_as_frequent_as_they_are_probable():
    poems = [flat(poem) for poem in ENGLISH_VERSE.sample(20_000, seed=6)]
    first = [poem[0] for poem in poems]
    commonest = max(set(first), key=first.count)
    for prefix in ((), (commonest,)):
        drawn = [poem[len(prefix)] for poem in poems if poem[: len(prefix)] == prefix]
        probabilities = ENGLISH_VERSE.next_distribution(prefix)
        assert abs(probabilities.sum() - 1) < 1e-12
        counts = np.array([drawn.count(text) for text in ENGLISH_VERSE.vocabulary])
        statistic, freedom = excess(counts, len(drawn) * probabilities)
        assert freedom > 20
        assert abs(statistic - freedom) < 4 * np.sqrt(2 * freedom)


@pytest.mark.slow
def test_words_drawn_behind_random_beginnings_are_those_the_distribution_expects():
    """Check two facts about sampled tokens: log-probabilities have a known mean and variance, ranks are uniform."""
    random = np.random.default_rng(7)
    surprise, variance, uniforms = 0.0, 0.0, []
    for poem in ENGLISH_VERSE.sample(200, seed=8):
        words = flat(poem)
        step = random.integers(20)
        probabilities = ENGLISH_VERSE.next_distribution(words[:step])
        assert abs(probabilities.sum() - 1) < 1e-12
        drawn = ENGLISH_VERSE.vocabulary.index(words[step])
        uniforms.append(probabilities[:drawn].sum() + random.random() * probabilities[drawn])
        logs = np.log(probabilities, where=probabilities > 0, out=np.zeros_like(probabilities))
        mean = probabilities @ logs
        surprise += logs[drawn] - mean
        variance += probabilities @ (logs - mean) ** 2
    assert abs(surprise) < 3.5 * np.sqrt(variance)
    statistic, freedom = excess(np.histogram(uniforms, bins=10, range=(0, 1))[0], np.full(10, 20.0))
    assert abs(statistic - freedom) < 3.5 * np.sqrt(2 * freedom)


def test_two_samples_agree_on_the_floor():
    scores = [-ENGLISH_VERSE.log_probabilities(ENGLISH_VERSE.sample(4000, seed)).mean(axis=1) for seed in (1, 2)]
    means = [poems.mean() for poems in scores]
    error = np.sqrt(sum(poems.var() / len(poems) for poems in scores))
    assert abs(means[0] - means[1]) < 4 * error < 0.03
    # Written down, so that a change of words or rules is noticed: curves drawn over the old floor then mean nothing.
    assert means[0] == pytest.approx(2.15, abs=0.02)


def test_a_seed_gives_its_own_poems_and_a_smaller_count_their_beginning():
    poems = ENGLISH_VERSE.sample(1500, seed=1)
    assert ENGLISH_VERSE.sample(1100, seed=1) == poems[:1100]
    assert not set(poems) & set(ENGLISH_VERSE.sample(1500, seed=2))
    assert ENGLISH_VERSE.sample(0, seed=1) == []
    assert ENGLISH_VERSE.log_probabilities([]).shape == (0, 24)


def test_the_english_verse_is_rich_and_keeps_its_rules():
    assert 200 <= len(ENGLISH_VERSE.vocabulary) <= 320
    assert ENGLISH_VERSE.count_poems() > 10**6
    poems = ENGLISH_VERSE.sample(3000, seed=9)
    assert [breach for poem in poems for breach in ENGLISH_VERSE.broken_rules(poem)] == []
    assert np.isfinite(ENGLISH_VERSE.log_probabilities(poems)).all()
    assert len({word for poem in poems for word in flat(poem)}) == len(ENGLISH_VERSE.vocabulary)


POEM: Poem = (
    ("kings", "remain", "in", "every", "snow"),
    ("merry", "pines", "carry", "that", "glow"),
    ("in", "frozen", "queens", "every", "stone"),
    ("above", "red", "blossoms", "that", "woe"),
)


@pytest.mark.parametrize(
    ("line", "place", "word", "breach"),
    [
        (0, 0, "children", "metre: line 1 word 'children' has 2 syllables, 1 expected"),
        (1, 2, "wander", "syntax: line 2 word 'wander' is no action"),
        (3, 2, "horses", "parallel: 'horses' does not answer 'queens'"),
        (2, 1, "gentle", "parallel: 'red' does not answer 'gentle'"),
        (3, 4, "bone", "rhyme: line 4 ends in 'bone', line 1 in 'snow', by the scheme AABA"),
        (1, 4, "snow", "rhyme: line 2 ends in 'snow', line 1 in 'snow', by the scheme AABA"),
        (0, 4, "kings", "rhyme: line 1 ends in 'kings', no word that rhymes"),
        (1, 1, "stone", "syntax: line 2 word 'stone' is no noun"),
        (0, 2, "besides", "word: 'besides' is not in the vocabulary"),
    ],
)
def test_a_corrupted_poem_is_caught_by_name_and_impossible(line, place, word, breach):
    words = [list(words) for words in POEM]
    words[line][place] = word
    poem = tuple(map(tuple, words))
    assert breach in ENGLISH_VERSE.broken_rules(poem)
    assert ENGLISH_VERSE.log_probabilities([POEM, poem])[:, -1].tolist() == [0, -np.inf]


def test_the_first_impossible_token_and_all_behind_it_have_no_probability():
    words = [list(words) for words in POEM]
    words[1][2] = "sea"
    scores = ENGLISH_VERSE.log_probabilities([POEM, tuple(map(tuple, words))])
    np.testing.assert_array_equal(scores[1, :8], scores[0, :8])
    assert np.isneginf(scores[1, 8:]).all()


def test_a_poem_breaks_no_rule_exactly_if_the_grammar_can_write_it():
    random = np.random.default_rng(10)
    poems = []
    for poem in ENGLISH_VERSE.sample(2000, seed=11):
        words = [list(line) for line in poem]
        words[random.integers(4)][random.integers(5)] = str(random.choice(ENGLISH_VERSE.vocabulary))
        poems.append(tuple(map(tuple, words)))
    kept = [not ENGLISH_VERSE.broken_rules(poem) for poem in poems]
    assert 20 < sum(kept) < 1000
    assert np.isfinite(ENGLISH_VERSE.log_probabilities(poems)).all(axis=1).tolist() == kept


def test_a_poem_of_another_shape_is_refused_by_its_number():
    short = POEM[:3]
    assert ENGLISH_VERSE.broken_rules(short) == ["shape: 4 lines of 5 words expected, found [5, 5, 5]"]
    with pytest.raises(DataError, match=r"poem 1: lines of \[5, 5, 5, 5\] words expected, \[5, 5, 5\] found"):
        ENGLISH_VERSE.log_probabilities([POEM, short])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schemes": ("AB",)}, "agree in lines"),
        ({"themes": {}}, "1 theme at least"),
        ({"words": (*TINY.words, Word("sun", "dark", 1))}, "'sun' stands twice"),
        ({"themes": {"dusk": frozenset({"owl"})}}, r"unknown words \['owl'\]"),
        ({"affinities": {("day", "owls"): 2.0}}, r"no word is of the categories \['owls'\]"),
        ({"theme_factor": 0.0}, "must be positive"),
        ({"syntaxes": ((("noun", "verb"), ("verb", "noun"), ("noun", "verb")),)}, "of one syntax"),
        ({"metres": (((3, 2), (1, 2), (1, 2)),)}, "no noun has 3 syllables"),
        ({"partners": TINY.partners | {"day": "up"}}, "'day' needs a partner among noun"),
        ({"schemes": ("ABC",)}, "scheme ABC needs more rhymes"),
    ],
)
def test_rules_that_contradict_each_other_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)
