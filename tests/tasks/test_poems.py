import jax
import numpy as np
import pytest

from nlstm_jax.cells import LSTM
from nlstm_jax.data.generators.verse import ENGLISH_VERSE
from nlstm_jax.data.poems import Corpus
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.models import LanguageModel
from nlstm_jax.settings import defaults
from nlstm_jax.tasks.base import eval_batches
from nlstm_jax.tasks.poems import PoemExamples, PoemTask
from nlstm_jax.tasks.sums import WeightedSum

RNG = np.random.default_rng(0)
FORMS = ((1,), (2, 3), (4, 1, 2))


def ragged_poems(count: int) -> list:
    """Return random poems of one to three lines."""
    forms = [FORMS[n] for n in RNG.integers(0, len(FORMS), count)]
    return [tuple(tuple(RNG.choice(list("abcde"), n).tolist()) for n in form) for form in forms]


@pytest.fixture(scope="module")
def task():
    return PoemTask(Corpus({"train": ragged_poems(23), "valid": ragged_poems(11), "test": ragged_poems(5)}, ""))


@pytest.fixture(scope="module")
def model(task):
    return LanguageModel(task.model_dims["vocabulary"], 6, LSTM(5), key=jax.random.key(3))


def report(task, model, examples, batch_size) -> dict:
    """Return the metrics of a split that is measured in batches of this size."""
    sums: dict[str, list] = {}
    measure = jax.jit(lambda indices, weight: task.measure(model, examples.gather(indices), weight))
    for indices, weight in zip(*eval_batches(examples.size, batch_size), strict=True):
        for name, mean in measure(indices, weight).items():
            sums.setdefault(name, []).append([float(mean.sum), float(mean.weight)])
    totals = {name: WeightedSum(*np.sum(parts, axis=0)) for name, parts in sums.items()}
    return task.report({"train": totals})["train"]


def nats_of_each_poem(model, examples) -> tuple[list, list]:
    """Return the nats of the targets in float64, and the targets, both by poem. Each poem is read without padding."""
    compute_logits = jax.jit(lambda tokens: model(tokens)[1])
    nats = []
    targets = []
    for row, length in zip(examples.tokens, examples.lengths, strict=True):
        logits = np.asarray(compute_logits(row[:length, None]), np.float64)[:, 0]
        log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        targets.append(row[1 : length + 1])
        nats.append(-log_probabilities[np.arange(length), targets[-1]])
    return nats, targets


def test_the_log_loss_is_the_mean_over_all_real_targets_of_the_split(task, model):
    examples = task.splits["train"]
    nats, targets = nats_of_each_poem(model, examples)
    nats, targets = np.concatenate(nats), np.concatenate(targets)
    assert len(nats) == examples.lengths.sum()
    for batch_size in (7, 64):
        metrics = report(task, model, examples, batch_size)
        assert set(metrics) == {metric.name for metric in task.metrics}
        assert abs(metrics["log_loss"] - nats.mean()) < 1e-6
        assert abs(metrics["perplexity"] - np.exp(nats.mean())) < 1e-4
        assert abs(metrics["log_loss_per_character"] - nats[targets >= 3].mean()) < 1e-6


@pytest.mark.slow
def test_the_log_probability_of_a_poem_is_that_of_its_targets(task, model):
    examples = task.splits["valid"]
    texts = [task.write(row[1:]) for row in examples.tokens]
    nats, _ = nats_of_each_poem(model, examples)
    expected = [-values.sum() for values in nats]
    np.testing.assert_allclose(task.predict(model, [*texts, f"\n{texts[0]}\n"]), [*expected, expected[0]], rtol=1e-5)
    with pytest.raises(DataError, match=r"^poem 2: symbols expected, found none$"):
        task.predict(model, ["ab", " \n"])
    for inputs in (None, [], "ab"):
        with pytest.raises(ConfigError, match=r"^predict: a list of texts expected, found (one text|none)$"):
            task.predict(model, inputs)


def test_neither_padding_nor_the_batch_size_changes_a_metric(task, model):
    examples = task.splits["valid"]
    plain = report(task, model, examples, 11)
    for width, batch_size, filling in ((0, 4, 2), (9, 3, 5)):
        padding = np.full((examples.size, width), filling, np.int32)
        wider = PoemExamples(np.hstack([examples.tokens, padding]), examples.lengths)
        metrics = report(task, model, wider, batch_size)
        for name, value in plain.items():
            assert abs(metrics[name] - value) < 1e-6 * max(1, value)


def test_the_loss_that_is_minimised_is_the_one_that_is_reported(task, model):
    examples = task.splits["train"]
    loss = jax.jit(lambda batch: task.loss(model, batch, None))(examples.gather(jax.numpy.arange(examples.size)))
    assert float(loss.weight) == examples.lengths.sum()
    assert abs(float(loss.sum / loss.weight) - report(task, model, examples, 5)["log_loss"]) < 1e-6


def test_an_example_of_weight_nothing_counts_for_nothing(task, model):
    examples = task.splits["train"]
    indices = jax.numpy.asarray([4, 9, 2])
    measure = jax.jit(lambda batch, weight: task.measure(model, batch, weight))
    halved = measure(examples.gather(indices), jax.numpy.asarray([1.0, 0.0, 1.0]))
    without = measure(examples.gather(indices[jax.numpy.array([0, 2])]), jax.numpy.ones(2))
    for name in halved:
        np.testing.assert_allclose(halved[name], without[name], rtol=1e-6)


def test_a_character_leaves_out_4_of_the_24_targets_of_a_quatrain():
    quatrain = tuple(tuple("abcde") for _ in range(4))
    task = PoemTask(Corpus({"train": [quatrain] * 3, "valid": [quatrain], "test": [quatrain]}, ""))
    assert task.form == (5, 5, 5, 5)
    assert task.targets_per_example == 24
    model = LanguageModel(task.model_dims["vocabulary"], 3, LSTM(4), key=jax.random.key(0))
    sums = task.measure(model, task.splits["train"].gather(jax.numpy.arange(3)), jax.numpy.ones(3))
    assert float(sums["log_loss"].weight) == 3 * 24
    assert float(sums["log_loss_per_character"].weight) == 3 * 20


def test_a_rare_character_counts_as_a_character():
    train, valid = [(("a", "b"),)], [(("x", "b"),)]
    task = PoemTask(Corpus({"train": train, "valid": valid, "test": valid}, ""))
    model = LanguageModel(task.model_dims["vocabulary"], 3, LSTM(4), key=jax.random.key(0))
    sums = task.measure(model, task.splits["valid"].gather(jax.numpy.arange(1)), jax.numpy.ones(1))
    assert (float(sums["log_loss"].weight), float(sums["log_loss_per_character"].weight)) == (3, 2)


def test_the_log_says_what_the_data_are(task):
    poem, other = (("a", "b"), ("b", "a")), (("c", "d"), ("d", "c"))
    small = PoemTask(Corpus({"train": [poem, other], "valid": [poem, (("x", "y"), ("a", "a"))], "test": [poem]}, ""))
    assert small.log_lines == (
        "vocabulary: 8 symbols",
        "train: 2 poems, 12 targets",
        "valid: 2 poems, 12 targets, 2 symbols that training lacks read as <R>, 1 poem with two or more lines of "
        "one training poem",
        "test: 1 poem, 6 targets, 1 poem with two or more lines of one training poem",
    )
    assert task.form is None


def built(data, batch_size):
    return PoemTask.from_config({"data": data, "train": {"batch_size": batch_size}})


@pytest.fixture(scope="module")
def generated():
    data = {**defaults("poems", "lstm").data.to_dict(), "train_poems": 50, "valid_poems": 30, "test_poems": 20}
    return built(data, 50), data


def test_the_floor_of_generated_verse_is_the_grammars_own_log_loss(generated):
    task, data = generated
    poems = ENGLISH_VERSE.sample(100, seed=data["seed"])[50:80]
    log_probabilities = ENGLISH_VERSE.log_probabilities(poems)
    assert log_probabilities.shape == (30, 24)
    floor = task.metadata["floor"]
    assert set(floor) == {"valid"}
    assert abs(floor["valid"]["log_loss"] + log_probabilities.mean()) < 1e-9
    # Where a line ends is certain, so the same nats are shared by fewer targets.
    assert abs(floor["valid"]["log_loss_per_character"] - floor["valid"]["log_loss"] * 24 / 20) < 1e-9
    assert 1 < floor["valid"]["log_loss"] < np.log(task.model_dims["vocabulary"])


def test_generated_splits_are_parts_of_one_draw(generated):
    task, data = generated
    poems = ENGLISH_VERSE.sample(100, seed=data["seed"])
    assert {split: examples.size for split, examples in task.splits.items()} == {"train": 50, "valid": 30, "test": 20}
    for split, part in (("train", poems[:50]), ("valid", poems[50:80]), ("test", poems[80:])):
        np.testing.assert_array_equal(task.splits[split].tokens, task.vocabulary.encode(part)[0])
    assert task.form == (5, 5, 5, 5)
    assert task.separator == " "
    other = built({**data, "seed": 1}, 50)
    assert other.metadata["checksums"]["generated"] != task.metadata["checksums"]["generated"]
    assert built(data, 50).metadata == task.metadata


def test_too_few_poems_for_a_batch_or_a_split_are_told(generated, tmp_path):
    _, data = generated
    with pytest.raises(DataError) as caught:
        built(data, 51)
    assert str(caught.value) == (
        "poems: generated verse: at least one batch of 51 training poems expected, found 50; "
        "--config.train.batch_size=50 or less serves"
    )
    path = tmp_path / "two.txt"
    path.write_text("one\n\none\n")
    with pytest.raises(DataError) as caught:
        built({**data, "path": str(path)}, 1)
    assert str(caught.value) == (
        f"poems: {path}: at least one poem in the valid split expected, found none among 2 poems, "
        "which a hash of their text splits 90/5/5; three different poems or more, parted by blank lines, serve"
    )
