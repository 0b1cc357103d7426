import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import GatewayError
from trunkline.events import Usage
from trunkline.wire.emulate_form import Form
from trunkline.wire.emulate_reply import StopText, make_call_id
from trunkline.wire.emulate_request import Emulation
from wire.emulated import (
    ADD,
    CALLS,
    JSON,
    LEGACY,
    MESSAGE,
    NOW,
    PLAIN,
    TEXT,
    cut_text,
    fold,
    make_answer,
    make_stream,
    open_pair,
    read_whole,
    show_call,
)
from wire.sample import fail, play, some_examples
from wire.strict import read_chat, read_chat_stream

places = st.lists(st.integers(0, 300), max_size=12)


def test_a_message_is_the_content() -> None:
    message, reason = read_whole(MESSAGE)
    assert (message, reason) == ({"role": "assistant", "content": 'Hé "👋"👋\n'}, "stop")


def test_a_message_in_the_clients_format_is_its_json() -> None:
    message, reason = read_whole('{"message": {"a": [1.50, "\\u00e9"]} }', JSON)
    assert (message["content"], reason) == ('{"a": [1.50, "\\u00e9"]}', "stop")


def test_calls_are_tool_calls() -> None:
    message, reason = read_whole(CALLS)
    assert reason == "tool_calls"
    assert message == {
        "role": "assistant",
        "content": None,
        "tool_calls": [show_call(0, "add", ADD), show_call(1, "now", NOW)],
    }


def test_the_one_call_of_the_older_sort_is_a_function_call() -> None:
    message, reason = read_whole('{"tool_calls":[{"name":"now","arguments":{}}]}', LEGACY)
    assert reason == "function_call"
    assert message == {
        "role": "assistant",
        "content": None,
        "function_call": {"name": "now", "arguments": "{}"},
    }


def test_ids_are_random() -> None:
    made = {make_call_id() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch("call_[0-9a-f]{24}", name) for name in made)


@pytest.mark.parametrize(
    ("reason", "told"),
    [("stop", "tool_calls"), ("length", "tool_calls"), ("eos_token", "tool_calls"),
     ("content_filter", "content_filter")],
)  # fmt: skip
def test_the_finish_reason_of_whole_calls(reason: str, told: str) -> None:
    message, finish = read_whole(CALLS, TEXT, reason)
    assert (finish, len(message["tool_calls"])) == (told, 2)
    assert fold(play(open_pair().open_stream(), make_stream([CALLS], reason))) == (message, told)


@pytest.mark.parametrize("reason", ["length", "content_filter"])
@pytest.mark.parametrize(
    ("cut", "content", "calls"),
    [
        ("", "", None),
        ('{"mess', "", None),
        ('{"message":"Half a', "Half a", None),
        ('{"message":"Half \\', "Half ", None),
        ('{"message":"Half \\ud83d', "Half ", None),
        ('{"message":"Whole"', "Whole", None),
        ('{"tool_calls":', None, None),
        ('{"tool_calls":[{"name":"now","argum', None, None),
        ('{"tool_calls":[{"name":"now","arguments":{}', None, None),
        ('{"tool_calls":[{"name":"now","arguments":{}}', None, 1),
        ('{"tool_calls":[{"name":"now","arguments":{}},{"name":"add","arguments":{"a":1', None, 1),
    ],
)
def test_a_cut_answer_is_the_text_so_far_and_only_whole_calls(
    cut: str, content: str | None, calls: int | None, reason: str
) -> None:
    message, told = read_whole(cut, TEXT, reason)
    assert told == reason
    assert message["content"] == content
    assert len(message.get("tool_calls", ())) == (calls or 0)
    folded, told = fold(play(open_pair().open_stream(), make_stream([cut] * bool(cut), reason)))
    assert told == reason
    assert (folded["content"] or "") == (content or "")
    assert folded.get("tool_calls", [])[: calls or 0] == message.get("tool_calls", [])


def test_an_answer_that_had_to_call_has_no_content_however_early_it_was_cut() -> None:
    form = Form(frozenset({"now"}), None, single=True)
    for cut in ("", '{"tool'):
        message, reason = read_whole(cut, Emulation({}, form), "length")
        assert (message, reason) == ({"role": "assistant", "content": None}, "length")


@pytest.mark.parametrize("reason", ["stop", "tool_calls", "eos"])
@pytest.mark.parametrize(
    "content", ["", None, "Hello", '{"message":"Half', '{"tool_calls":[', CALLS[:-1], CALLS + "x"]
)
def test_a_finished_answer_out_of_form_is_an_error(content: str | None, reason: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_whole(content, TEXT, reason)
    assert caught.value.code == "upstream_error"
    pieces = [content] if content else []
    _, error = fail(open_pair().open_stream(), make_stream(pieces, reason))
    assert error.code == "upstream_error"


def test_what_an_upstream_gave_up_on_is_an_error() -> None:
    for content in (MESSAGE, '{"message":"Half'):
        with pytest.raises(GatewayError):
            read_whole(content, TEXT, "abort")
        _, error = fail(open_pair().open_stream(), make_stream([content], "abort"))
        assert error.code == "upstream_error"


def test_a_refusal_is_left_alone() -> None:
    answer = open_pair().read_answer(make_answer(None, refusal="No."))
    [choice] = msgspec.json.decode(answer.body)["choices"]
    assert choice["message"] == {"role": "assistant", "content": None, "refusal": "No."}
    assert choice["finish_reason"] == "stop"


def test_a_whole_answer_keeps_usage_and_all_else() -> None:
    body = make_answer(MESSAGE, CALLS, reasoning_content="Hm \ud83d")
    answer = open_pair().read_answer(body)
    assert answer.usage == Usage(3, 2, 5)
    assert answer.finish_reason == "stop"
    value = json.loads(answer.body)
    assert [choice["finish_reason"] for choice in value["choices"]] == ["stop", "tool_calls"]
    assert value["choices"][0]["message"]["reasoning_content"] == "Hm \ud83d"
    assert {**value, "choices": []} == {**json.loads(body), "choices": []}
    with pytest.raises(GatewayError, match="no choices"):
        open_pair().read_answer(make_answer())


@pytest.mark.parametrize("emulation", [TEXT, LEGACY, PLAIN])
@pytest.mark.parametrize("content", [MESSAGE, '{"tool_calls":[{"name":"now","arguments":{}}]}'])
def test_every_client_takes_the_answers(emulation: Emulation, content: str) -> None:
    answer = open_pair(emulation).read_answer(make_answer(content)).body
    stream = play(open_pair(emulation).open_stream(), make_stream(list(content)))
    for client, seen in read_chat(answer).items():
        chunks = read_chat_stream(stream)[client]
        assert chunks[-1].choices[0].finish_reason == seen.choices[0].finish_reason
        texts = [chunk.choices[0].delta.content or "" for chunk in chunks]
        assert "".join(texts) == (seen.choices[0].message.content or "")


def test_without_a_form_the_inner_pair_does_it_all() -> None:
    pair = open_pair(PLAIN)
    stream = make_stream(["Hello"], "stop")
    assert play(pair.open_stream(), stream) == stream
    assert msgspec.json.decode(pair.read_answer(make_answer("Hi")).body)["choices"][0][
        "message"
    ] == {"role": "assistant", "content": "Hi"}


def test_a_pair_writes_what_the_inner_pair_writes() -> None:
    pair = open_pair()
    assert (pair.path, pair.write_request()) == ("/chat/completions", b'{"model":"m"}')
    assert pair.open_fold() is None


def cut_at_stop(text: str, stops: tuple[str, ...]) -> str:
    """The text up to the stop text that is the first to be complete, the plain way."""
    for end in range(len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(map(len, found))]
    return text


@some_examples
@given(
    st.text("ab\n", max_size=20),
    st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3),
    places,
)
def test_a_stop_text_cuts_where_it_is_first_complete(
    text: str, stops: list[str], at: list[int]
) -> None:
    reader = StopText(tuple(stops))
    said = "".join(map(reader.feed, cut_text(text, at)))
    said += reader.flush()
    assert said == cut_at_stop(text, tuple(stops))
    assert reader.hit == any(stop in text for stop in stops)


@pytest.mark.parametrize(
    ("content", "reason", "text"),
    [
        ('{"message":"one\\nUser: two"}', "stop", "one"),
        ('{"message":"one\\nUser: tw', "length", "one"),
        ('{"message":"one\\nUser"}', "stop", "one\nUser"),
        ('{"message":"one\\nUser', "length", "one\nUser"),
    ],
)
def test_stop_texts_end_the_message(content: str, reason: str, text: str) -> None:
    emulation = msgspec.structs.replace(TEXT, stop=("\nUser:", "}"))
    told = "stop" if text == "one" else reason
    assert read_whole(content, emulation, reason) == ({"role": "assistant", "content": text}, told)
    for pieces in ([content], list(content)):
        out = play(open_pair(emulation).open_stream(), make_stream(pieces, reason))
        assert fold(out) == ({"role": "assistant", "content": text}, told)


def test_stop_texts_leave_calls_alone() -> None:
    emulation = msgspec.structs.replace(TEXT, stop=("}", "add"))
    assert read_whole(CALLS, emulation) == read_whole(CALLS)
