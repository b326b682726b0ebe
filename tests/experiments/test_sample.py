import json
import shutil

import pytest


@pytest.fixture(scope="module")
def samples(trained, run_scripts, tmp_path_factory):
    """Return a copy of the finished run of poems, and the output of the script with various flags."""
    folder = tmp_path_factory.mktemp("samples") / "run"
    shutil.copytree(trained / "poems", folder)
    cases = {
        "seed 5": ["--count=3", "--seed=5"],
        "seed 5 again": ["--count=3", "--seed=5"],
        "seed 6": ["--count=3", "--seed=6"],
        "prompted": ["--count=2", "--temperature=0", f"--prompt={'the ' * 6}"],
        "unknown": ["--prompt=the xyzzy"],
        "negative": ["--temperature=-1"],
    }
    commands = {name: ["sample", f"--workdir={folder}", *flags] for name, flags in cases.items()}
    commands["sales"] = ["sample", f"--workdir={trained / 'sales'}"]
    return folder, run_scripts(commands)


def poems(ended) -> list[list[list[str]]]:
    assert (ended.code, ended.err) == (0, "")
    return [[line.split(" ") for line in poem.split("\n")] for poem in ended.out.rstrip("\n").split("\n\n")]


def test_poems_have_four_lines_of_five_words(samples):
    drawn = poems(samples[1]["seed 5"])
    assert [[len(line) for line in poem] for poem in drawn] == [[5] * 4] * 3
    assert len({str(poem) for poem in drawn}) == 3
    words = {word for poem in drawn for line in poem for word in line}
    assert not words & {"<bos>", "<eol>", "<eos>", "<R>", ""}


def test_the_same_seed_gives_the_same_poems_and_another_others(samples):
    ended = samples[1]
    assert ended["seed 5"].out == ended["seed 5 again"].out
    assert ended["seed 5"].out != ended["seed 6"].out


def test_the_poems_are_also_written(samples):
    folder, ended = samples
    written = {path.name: path.read_text("utf-8") for path in (folder / "samples").iterdir()}
    # What was asked for otherwise is a file of its own.
    assert len(written) == 3
    (name,) = (name for name in written if name.startswith("step24_seed5_temperature1_top0_"))
    assert written[name] == ended["seed 5"].out


def test_every_poem_begins_with_the_prompt_and_at_temperature_nothing_goes_on_alike(samples):
    one, other = poems(samples[1]["prompted"])
    assert one == other
    assert [len(line) for line in one] == [5] * 4
    assert one[0] == ["the"] * 5
    assert one[1][0] == "the"


def test_what_does_not_serve_is_told(samples, trained, refused):
    ended = samples[1]
    refused(ended["unknown"], 2, "--prompt: symbols of the training poems expected, found 'xyzzy'")
    refused(ended["negative"], 2, "flag --temperature=-1: -1.0 is not a number in the range [0.0, 100.0]")
    refused(
        ended["sales"],
        2,
        f"{trained / 'sales'}: a run of poems, text, echo or a task with the method `sample` expected, "
        "found one of sales",
    )
    assert "test" not in json.loads((samples[0] / "summary.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def others(trained_runs, run_scripts, tmp_path_factory):
    """Return the folder of copies of the text and echo runs, and the output of the script."""
    folder = tmp_path_factory.mktemp("others")
    for run in trained_runs("text", "echo"):
        shutil.copytree(run, folder / run.name)
    cases = {
        "text": ["text", "--count=2", "--length=30", "--prompt=the", "--seed=1"],
        "text again": ["text", "--count=2", "--length=30", "--prompt=the", "--seed=1"],
        "unknown": ["text", "--prompt=the xyzzy"],
        "echo": ["echo", "--count=5", "--seed=2"],
    }
    return folder, run_scripts(
        {name: ["sample", f"--workdir={folder / run}", *flags] for name, (run, *flags) in cases.items()}
    )


@pytest.mark.slow
def test_passages_go_on_from_the_prompt(others):
    ended = others[1]
    assert (ended["text"].code, ended["text"].err) == (0, "")
    assert ended["text"].out == ended["text again"].out
    passages = ended["text"].out.removesuffix("\n").split("\n\nthe")
    assert len(passages) == 2
    assert all(passage.removeprefix("the")[0] in " \n" for passage in passages)
    assert "<" not in ended["text"].out
    assert len(ended["text"].out.split()) > 40


@pytest.mark.slow
def test_the_echo_is_shown_beside_what_was_given(others):
    folder, ended = others
    assert (ended["echo"].code, ended["echo"].err) == (0, "")
    for header in ("given", "to be echoed", "echoed", "right"):
        assert header in ended["echo"].out
    assert ended["echo"].out.count(" of 2 ") == 5
    (written,) = (folder / "echo" / "samples").iterdir()
    assert written.read_text("utf-8").count(" of 2 ") == 5


@pytest.mark.slow
def test_a_prompt_of_unknown_words_is_refused(others, refused):
    refused(others[1]["unknown"], 2, "--prompt: words of the training text expected, found 'xyzzy'")
