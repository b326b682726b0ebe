import pytest

from nlstm_jax.errors import DataError
from nlstm_jax.runs import read_notes, write_notes


def test_tags_are_added_and_taken_away_and_a_text_replaced(tmp_path) -> None:
    assert read_notes(tmp_path) == ("", ())
    write_notes(tmp_path, text="as in the paper", tags=["paper", "table2"])
    assert write_notes(tmp_path, tags=["late", "paper"], without=["table2"]) == ("as in the paper", ("paper", "late"))
    assert read_notes(tmp_path) == ("as in the paper", ("paper", "late"))
    assert write_notes(tmp_path, text="") == ("", ("paper", "late"))


def test_what_is_damaged_is_named(tmp_path) -> None:
    (tmp_path / "notes.json").write_text("{", "utf-8")
    with pytest.raises(DataError, match=r"notes\.json: JSON expected"):
        read_notes(tmp_path)
