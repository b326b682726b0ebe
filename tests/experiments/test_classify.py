"""Tests of the classification of new sequences from the command line."""

import csv

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ended(trained_runs, run_scripts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    (folder / "new.csv").write_text("name,sequence\na,0 1 1 0 0 0\nb,0 0 0 0 3 3\n", "utf-8")
    (folder / "odd.csv").write_text("sequence\n0 1\n0 7\n", "utf-8")
    (folder / "case.csv").write_text("Name,Sequence\na,0 1 1 0 0 0\n", "utf-8")
    cases = {
        "case": [f"--input={folder / 'case.csv'}"],
        "one": ["--sequence=0 0 2 2 0 0"],
        "file": [f"--input={folder / 'new.csv'}", f"--out={folder / 'classes.csv'}"],
        "odd": [f"--input={folder / 'odd.csv'}"],
        "none": [],
        "both": ["--sequence=0 1", f"--input={folder / 'new.csv'}"],
        "same": [f"--input={folder / 'new.csv'}", f"--out={folder / 'new.csv'}"],
        "out": ["--sequence=0 1", f"--out={folder / 'missing' / 'classes.csv'}"],
    }
    six, text = trained_runs("classify", "text")
    commands = {name: ["classify", f"--workdir={six}", *flags] for name, flags in cases.items()}
    commands["text"] = ["classify", f"--workdir={text}", "--sequence=0 1"]
    return folder, run_scripts(commands)


def test_a_sequence_has_the_class_of_its_like(ended) -> None:
    one = ended[1]["one"]
    assert (one.code, one.err) == (0, "")
    assert [cell.strip() for cell in one.out.splitlines()[3].strip("│").split("│")][:2] == ["0 0 2 2 0 0", "2"]


def test_a_header_may_be_in_any_case_as_in_training(ended) -> None:
    case = ended[1]["case"]
    assert (case.code, case.err) == (0, "")


def test_a_file_of_sequences_is_answered_by_a_file(ended) -> None:
    folder, said = ended
    assert (said["file"].code, said["file"].err) == (0, "")
    with (folder / "classes.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["sequence", "class", "p(0)", "p(1)", "p(2)", "p(3)"]
    assert [row[:2] for row in rows] == [["0 1 1 0 0 0", "1"], ["0 0 0 0 3 3", "3"]]
    for row in rows:
        assert sum(map(float, row[2:])) == pytest.approx(1, abs=2e-4)


def test_what_does_not_serve_is_told(ended, trained_runs, refused) -> None:
    folder, said = ended
    (text,) = trained_runs("text")
    wanted = "symbols that training has, 0 1 2 3, with blanks between them expected, found '7'"
    refused(said["odd"], 3, f"{folder / 'odd.csv'} line 3: {wanted}")
    refused(said["none"], 2, "--sequence or --input: one of them expected, found none")
    refused(said["both"], 2, "--sequence or --input: one of them expected, found both")
    refused(said["same"], 2, f"--out: another file than --input expected, found {folder / 'new.csv'}")
    out = folder / "missing" / "classes.csv"
    refused(said["out"], 2, f"--out: a file in an existing folder expected, found {out}")
    refused(
        said["text"],
        2,
        f"{text}: a run of classify or a task with the method `probabilities` expected, found one of text",
    )
