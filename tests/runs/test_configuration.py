import pytest

from nlstm_jax.runs import differences, flatten


def test_flatten_joins_the_keys_of_every_level_with_dots():
    nested = {"task": "poems", "cell": {"name": "nlstm", "inner": {"depth": 2}}, "data": {}}
    assert flatten(nested) == {"task": "poems", "cell.name": "nlstm", "cell.inner.depth": 2}


def test_equal_configurations_do_not_differ_whatever_the_order_of_their_keys():
    assert differences({"a": {"b": 1, "c": 2.5}, "d": "x"}, {"d": "x", "a": {"c": 2.5, "b": 1}}) == {}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"seeds": {"init": 0, "data": 3}}, {"seeds": {"init": 1, "data": 3}}, {"seeds.init": (0, 1)}),
        ({"a": 1}, {}, {"a": (1, "(absent)")}),
        ({}, {"a": {"b": None}}, {"a.b": ("(absent)", None)}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": (1, "(absent)"), "a.b": ("(absent)", 1)}),
        ({"a": "", "b": 0.1}, {"a": "x", "b": 0.2}, {"a": ("", "x"), "b": (0.1, 0.2)}),
    ],
)
def test_differences_give_both_values_of_exactly_the_keys_that_differ(old, new, expected):
    assert differences(old, new) == expected
