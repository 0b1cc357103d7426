"""The rest of an answer, joined to what the client has of it."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import GatewayError
from trunkline.wire.reply import StreamReply
from trunkline.wire.splice import ContinuedReply, Splice
from trunkline.wire.transcript import Said
from wire.sample import (
    fail,
    make_chunk,
    open_chat,
    open_native,
    play,
    read_frames,
    some_examples,
    write_frames,
)

HEAD = {"id": "first", "created": 3, "model": "asked"}
SAID = Said("Once", HEAD, 10, 4, 1)
HELLO = make_chunk({"role": "assistant", "content": ""})
STOP = make_chunk({}, "stop")
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
COUNT = {**make_chunk(), "choices": [], "usage": USAGE}


def continue_with(inner: StreamReply, overlap: str = "", said: Said = SAID) -> ContinuedReply:
    return ContinuedReply(inner, Splice(said, overlap))


def test_a_chat_goes_on_without_a_second_beginning() -> None:
    upstream = write_frames(HELLO, make_chunk({"content": " upon"}), STOP, COUNT)
    data = play(continue_with(open_chat(include_usage=True, done=True)), upstream)
    text, stop, count, done = read_frames(data)
    assert [each | HEAD == each for each in (text, stop, count)] == [True] * 3
    assert text["choices"][0]["delta"] == {"content": " upon"}
    assert stop["choices"][0]["finish_reason"] == "stop"
    assert stop["trunkline"] == {"resumed": 1}
    assert "trunkline" not in text
    assert count["usage"] == {"prompt_tokens": 15, "completion_tokens": 6, "total_tokens": 21}
    assert done == "[DONE]"


def test_a_completion_is_told_in_its_metadata() -> None:
    upstream = write_frames(HELLO, make_chunk({"content": " upon"}), STOP, COUNT)
    text, last = read_frames(play(continue_with(open_native()), upstream))
    assert text["completion"]["text"] == " upon"
    assert last["completion"]["response_metadata"]["resumed"] == 1
    assert last["token_usage"] == {"prompt": 15, "completion": 6, "total": 21}
    assert (last["prompt_tokens"], last["response_tokens"]) == (15, 6)


@some_examples
@given(
    blanks=st.text(" \n\t", max_size=5),
    lead=st.text(" \n\t", max_size=5),
    rest=st.text(max_size=8),
    cut=st.integers(1, 4),
)
def test_blanks_that_the_client_has_are_not_given_twice(
    blanks: str, lead: str, rest: str, cut: int
) -> None:
    said = lead + "x" + rest
    pieces = [said[at : at + cut] for at in range(0, len(said), cut)]
    upstream = write_frames(HELLO, *(make_chunk({"content": each}) for each in pieces), STOP)
    same = 0
    while same < min(len(blanks), len(lead)) and blanks[same] == lead[same]:
        same += 1
    for opened in (open_chat, open_native):
        text = ""
        for each in read_frames(play(continue_with(opened(), blanks), upstream)):
            if "completion" in each:
                text += each["completion"]["text"]
            else:
                text += each["choices"][0]["delta"].get("content", "")
        assert text == said[same:]


@pytest.mark.parametrize("opened", [open_chat, open_native])
def test_thoughts_are_no_continuation(opened: Callable[[], StreamReply]) -> None:
    thought = make_chunk({"reasoning_content": "the rest"})
    reply = continue_with(opened())
    out, error = fail(reply, write_frames(HELLO, thought, STOP))
    assert error.code == "upstream_error"
    assert not out


def test_what_is_no_end_stays_none() -> None:
    reply = continue_with(open_chat())
    out, error = fail(reply, write_frames(HELLO, make_chunk({"content": " upon"})))
    assert error.code == "upstream_error"
    assert b'finish_reason":"' not in out


def test_it_tells_what_its_own_upstream_tells() -> None:
    reply = continue_with(open_chat())
    play(reply, write_frames(HELLO, make_chunk({"content": "x"}), STOP, COUNT))
    assert reply.content_seen
    assert reply.usage == msgspec.convert(USAGE, type(reply.usage))
    assert (reply.counted, reply.pieces, reply.finish_reason) == (None, 1, "stop")


def test_half_a_character_goes_through() -> None:
    raw = (
        b'{"id":"c1","object":"chat.completion.chunk","created":1,"model":"m",'
        b'"choices":[{"index":0,"delta":{"content":"\\ud83d"},"finish_reason":null}]}'
    )
    with pytest.raises(GatewayError):
        continue_with(open_chat()).finish()
    assert b'"\\ud83d"' in continue_with(open_chat()).feed(write_frames(raw))
