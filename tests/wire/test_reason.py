import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import GatewayError
from trunkline.events import FinishReason
from trunkline.wire.reason import read_reason
from wire.sample import may_fail, some_examples

WORDS = typing.get_args(FinishReason)


@pytest.mark.parametrize("word", WORDS)
def test_the_closed_words_stay(word: str) -> None:
    assert read_reason(word) == word


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("eos", "stop"),
        ("eos_token", "stop"),
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("STOP", "stop"),
        ("COMPLETE", "stop"),
        ("max_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("SAFETY", "content_filter"),
        ("sensitive", "content_filter"),
        ("guardrail_intervened", "content_filter"),
        ("refusal", "content_filter"),
    ],
)
def test_vendors_words_are_translated(word: str, reason: str) -> None:
    assert read_reason(word) == reason


@pytest.mark.parametrize(
    "word", ["error", "ERROR", "abort", "cancelled", "insufficient_system_resource"]
)
def test_a_word_for_a_broken_reply_is_a_failure(word: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_reason(word)
    assert caught.value.code == "upstream_error"


@some_examples
@given(st.text())
def test_any_word_is_a_closed_word_or_a_failure(word: str) -> None:
    with may_fail("upstream_error"):
        assert read_reason(word) in WORDS
