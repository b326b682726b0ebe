import numpy as np
import pytest

from nlstm_jax.data.poems import Corpus
from nlstm_jax.errors import ConfigError
from nlstm_jax.tasks.poems import PoemTask


def make(poems, separator=""):
    return PoemTask(Corpus({"train": poems, "valid": poems[:1], "test": poems[:1]}, separator))


@pytest.fixture(scope="module")
def words():
    """Return a task whose poems all have two lines of two words."""
    return make([(("the", "sea"), ("the", "sky")), (("a", "sky"), ("a", "sea"))], " ")


@pytest.fixture(scope="module")
def free():
    """Return a task whose poems have different forms and consist of characters."""
    return make([tuple(tuple(line) for line in poem.split("\n")) for poem in ("ab c\nd", "a", "b\nc\nd")])


def symbols(task, row):
    return [task.vocabulary.symbols[index] for index in row]


def test_where_poems_have_one_form_lines_of_the_prompt_end_by_themselves(words):
    assert words.read_prompt("") == []
    assert words.read_prompt("the") == ["the"]
    assert words.read_prompt("the sea") == ["the", "sea"]
    assert words.read_prompt("the sea a") == ["the", "sea", "<eol>", "a"]
    assert words.read_prompt("the\nsea\na") == ["the", "sea", "<eol>", "a"]
    assert words.read_prompt("the sea a sky") == ["the", "sea", "<eol>", "a", "sky"]


def test_where_poems_are_free_a_prompt_is_taken_as_it_stands(free):
    assert free.read_prompt("") == []
    assert free.read_prompt("ab c") == ["a", "b", " ", "c"]
    assert free.read_prompt("ab\nc\n") == ["a", "b", "<eol>", "c", "<eol>"]


def test_a_symbol_that_the_model_does_not_know_is_named(words, free):
    with pytest.raises(ConfigError) as caught:
        words.read_prompt("the ocean")
    assert str(caught.value) == "--prompt: symbols of the training poems expected, found 'ocean'"
    with pytest.raises(ConfigError, match=r"found 'z'$"):
        free.read_prompt("az")


@pytest.mark.parametrize("symbol", ["<bos>", "<eol>", "<eos>"])
def test_what_begins_and_ends_things_is_no_part_of_a_prompt(words, symbol):
    with pytest.raises(ConfigError, match=f"found '{symbol}'"):
        words.read_prompt(f"the {symbol}")


def test_a_prompt_of_characters_is_the_same_with_blanks_and_without_in_poems_of_any_form():
    one_form = make([(tuple("春風"), tuple("花鳥")), (tuple("風春"), tuple("鳥花"))])
    two_forms = make([(tuple("春風"), tuple("花鳥")), (tuple("風春鳥"), tuple("花"))])
    for task in (one_form, two_forms):
        assert task.read_prompt("春風") == task.read_prompt("春 風") == ["春", "風"]
        with pytest.raises(ConfigError, match=r"found 'x'$"):
            task.read_prompt("春x")


def test_a_prompt_longer_than_a_poem_is_refused(words):
    with pytest.raises(ConfigError) as caught:
        words.read_prompt("the sea the sea the")
    assert str(caught.value) == "--prompt: at most 4 symbols expected, found 5"


def test_the_places_of_a_form_hold_characters_line_ends_and_one_end(words):
    forced, allowed = words.sample_constraints(["the", "sea", "<eol>", "a"])
    assert forced.shape == (6,)
    assert symbols(words, forced[:4]) == ["the", "sea", "<eol>", "a"]
    assert forced[4:].tolist() == [-1, -1]
    may = [{words.vocabulary.symbols[n] for n in np.flatnonzero(row)} for row in np.asarray(allowed)]
    characters = {"the", "a", "sea", "sky"}
    assert may == [characters, characters, {"<eol>"}, characters, characters, {"<eos>"}]


def test_in_a_free_poem_all_but_beginning_and_rare_may_stand_anywhere(free):
    forced, allowed = free.sample_constraints(["a", "<eol>"])
    # Twice the longest training poem, with its beginning and its end.
    assert forced.shape == (2 * len("^ab c\nd$"),)
    assert allowed.shape == (len(forced), len(free.vocabulary.symbols))
    for row in np.asarray(allowed):
        assert {free.vocabulary.symbols[n] for n in np.flatnonzero(~row)} == {"<bos>", "<R>"}
    long = list("abcd" * 20)
    forced, allowed = free.sample_constraints(long)
    assert len(forced) == len(allowed) == 81
    assert forced[-1] == -1


def test_writing_a_poem_is_reading_it_backwards(words, free):
    for task, poem in ((words, "the sea\na sky"), (free, "ab c\nd"), (free, "a\n\nb")):
        numbers = task.vocabulary.numbers()
        lines = [line.split() if task is words else list(line) for line in poem.split("\n")]
        row = [numbers[symbol] for line in lines for symbol in (*line, "<eol>")][:-1]
        row += [numbers["<eos>"], numbers["a"], numbers["a"]]
        assert task.write(np.array(row, np.int32)) == poem


def test_a_poem_without_an_end_is_written_all_the_same(free):
    numbers = free.vocabulary.numbers()
    assert free.write(np.array([numbers["a"], numbers["<eol>"], numbers["b"]])) == "a\nb"
    assert free.write(np.array([numbers["<eos>"], numbers["b"]])) == ""
