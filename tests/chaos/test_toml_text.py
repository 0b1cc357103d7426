"""What is written as TOML is read back as it was."""

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trunkline.chaos.toml_text import write_toml

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
LEAVES = TEXTS | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(-1e9, 1e9)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_a_round_trip_changes_nothing(value: dict[str, Any]) -> None:
    assert tomllib.loads(write_toml(value)) == value


def test_what_is_none_is_left_out() -> None:
    value = {"a": None, "b": {"c": None, "d": 1, "e": {"f": None}}}
    assert tomllib.loads(write_toml(value)) == {"b": {"d": 1, "e": {}}}
