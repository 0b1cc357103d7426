from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.events import Usage
from trunkline.wire.reply import StreamReply
from wire.sample import (
    CHAT_STREAMS,
    STREAMS,
    fail,
    make_chunk,
    open_chat,
    play,
    read_case,
    read_frames,
    some_examples,
    split,
    write_frames,
)

Open = Callable[[], StreamReply]
NAMES = [f"{number}:{name}" for number, (name, _) in enumerate(STREAMS)]
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
HELLO = make_chunk({"role": "assistant", "content": ""})
TEXT = make_chunk({"content": "Hi"})
STOP = make_chunk({}, "stop")
COUNT = {**make_chunk(), "choices": [], "usage": USAGE}
every_stream = pytest.mark.parametrize(("name", "opened"), STREAMS, ids=NAMES)


@every_stream
@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_the_pieces_of_the_bytes_never_matter(name: str, opened: Open, newline: bytes) -> None:
    stream = read_case(name).replace(b"\n", newline)
    whole = play(opened(), stream)
    assert whole == play(opened(), read_case(name))
    assert whole == play(opened(), *(stream[i : i + 1] for i in range(len(stream))))
    for place in range(0, len(stream), 1 if newline == b"\r\n" else 7):
        assert play(opened(), stream[:place], stream[place:]) == whole


@every_stream
@some_examples
@given(data=st.data())
def test_no_way_of_cutting_matters(name: str, opened: Open, data: st.DataObject) -> None:
    stream = read_case(name)
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))
    assert play(opened(), *split(stream, *places)) == play(opened(), stream)


@every_stream
def test_an_end_before_the_finish_reason_is_an_error(name: str, opened: Open) -> None:
    stream = read_case(name)
    whole = play(opened(), stream)
    last = max(stream.rfind(b'"finish_reason":"' + word) for word in (b"stop", b"length", b"tool"))
    complete = stream.find(b"\n\n", last)
    for end in range(complete - 1):
        out, error = fail(opened(), stream[:end])
        assert error.code == "upstream_error"
        assert whole.startswith(out)


@every_stream
def test_frames_are_ascii_json_on_one_line_whatever_came(name: str, opened: Open) -> None:
    assert list(read_frames(play(opened(), read_case(name))))


@pytest.mark.parametrize("name", [name for name in CHAT_STREAMS if "provider/" not in name])
def test_a_frame_that_fits_goes_out_with_the_bytes_it_came_with(name: str) -> None:
    sent = read_case(name).split(b"\n\n")
    got = play(open_chat(done=True, include_usage=True), read_case(name)).split(b"\n\n")
    for before, after in zip(sent, got, strict=True):
        assert after == before if before.isascii() else after.isascii()
        if b"{" in before:
            assert msgspec.json.decode(after[6:]) == msgspec.json.decode(before[6:])


@pytest.mark.parametrize("done", [True, False])
def test_only_openais_dialect_ends_with_done(*, done: bool) -> None:
    for tail in (b"", b"data: [DONE]\n\n", b"data: [DONE]\n", b"event: done\ndata: [DONE]\n\n"):
        out = play(open_chat(done=done), write_frames(HELLO, TEXT, STOP) + tail)
        assert list(read_frames(out)) == [HELLO, TEXT, STOP, *(["[DONE]"] if done else [])]


@pytest.mark.parametrize("wanted", [True, False])
def test_the_usage_chunk_goes_only_to_who_asked_for_it(*, wanted: bool) -> None:
    reply = open_chat(include_usage=wanted)
    out = play(reply, write_frames(HELLO, STOP, COUNT, b"[DONE]"))
    assert list(read_frames(out)) == [HELLO, STOP, *([COUNT] if wanted else [])]
    assert reply.usage == Usage(3, 2, 5)


def test_usage_in_the_finish_chunk_is_noted_and_forwarded() -> None:
    reply, last = open_chat(), make_chunk({}, "stop", usage=USAGE)
    assert list(read_frames(play(reply, write_frames(TEXT, last)))) == [TEXT, last]
    assert reply.usage == Usage(3, 2, 5)


@pytest.mark.parametrize("filler", [b": ping\n\n", b"\n\n", b"data:\n\n", b"event: ping\n\n"])
def test_what_an_upstream_sends_to_stay_alive_is_dropped(filler: bytes) -> None:
    frames = [write_frames(frame) for frame in (HELLO, TEXT, STOP)]
    out = play(open_chat(), filler + filler.join(frames) + filler)
    assert list(read_frames(out)) == [HELLO, TEXT, STOP]


def test_an_empty_object_is_no_chunk() -> None:
    stream = b"event: ping\ndata: {}\n\n" + write_frames(TEXT, STOP)
    assert list(read_frames(play(open_chat(), stream))) == [TEXT, STOP]


def test_a_frame_without_the_blank_or_over_several_lines_is_read() -> None:
    text = msgspec.json.format(msgspec.json.encode(TEXT), indent=2).replace(b"\n", b"\ndata:")
    stream = b"data:" + text + b"\n\ndata:" + msgspec.json.encode(STOP)
    assert list(read_frames(play(open_chat(), stream))) == [TEXT, STOP]


@pytest.mark.parametrize("at", [b',"created"', b',"model"', b'"choices"'])
def test_a_return_within_a_frame_ends_its_line_however_it_is_cut(at: bytes) -> None:
    text = write_frames(TEXT)
    odd = text.replace(at, b"\r" + at)
    assert odd != text
    for pieces in ([text, text, odd], [odd], [text, odd + text], [text, text, odd[:30], odd[30:]]):
        out, error = fail(open_chat(), *pieces)
        assert out == b"".join(piece for piece in pieces if piece == text)
        assert error.code == "upstream_error"


def test_nothing_is_believed_after_done() -> None:
    stream = write_frames(TEXT, STOP, b"[DONE]", COUNT, TEXT, b"rubbish", {"error": "x"})
    assert list(read_frames(play(open_chat(include_usage=True), stream))) == [TEXT, STOP]


def test_done_before_the_finish_reason_completes_nothing() -> None:
    out, error = fail(open_chat(done=True), write_frames(TEXT, b"[DONE]", STOP))
    assert list(read_frames(out)) == [TEXT]
    assert error.code == "upstream_error"


@pytest.mark.parametrize(
    "frame",
    [
        b'data: {"error":{"message":"sk-secret","code":500}}\n\n',
        b'data: {"error":"sk-secret"}\n\n',
        b'event: error\ndata: {"message":"sk-secret"}\n\n',
        b"event: error\ndata: sk-secret\n\n",
        b"event: error\ndata: sk-secret",
        b"data: sk-secret\n\n",
        b"data: null\n\n",
        b"data: [\n\n",
        write_frames(make_chunk({"content": ""}, "error")),
        write_frames(make_chunk({"content": "sk-secret"}, "abort")),
        write_frames({**COUNT, "error": {"message": "sk-secret"}}),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_a_failure_in_the_stream_comes_after_what_stood_before_it(
    frame: bytes, *, together: bool
) -> None:
    before, after = write_frames(HELLO, TEXT), write_frames(STOP)
    pieces = (before + frame + after,) if together else (before, frame, after)
    out, error = fail(open_chat(), *pieces)
    assert list(read_frames(out)) == [HELLO, TEXT]
    assert error.code == "upstream_error"
    assert "sk-secret" not in error.message


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b'{"error":{"message":"x"}}', b"{}"])
def test_an_answer_that_is_no_stream_is_an_error(body: bytes) -> None:
    out, error = fail(open_chat(done=True), body)
    assert out == b""
    assert error.code == "upstream_error"


def test_every_choice_must_finish() -> None:
    second = make_chunk({"content": "Zwei"})
    second["choices"][0]["index"] = 1
    _, error = fail(open_chat(), write_frames(TEXT, second, STOP, b"[DONE]"))
    assert error.code == "upstream_error"
    end = msgspec.json.decode(msgspec.json.encode(STOP))
    end["choices"][0]["index"] = 1
    assert play(open_chat(), write_frames(TEXT, second, STOP, end))


def test_a_finished_choice_stays_finished() -> None:
    again = make_chunk({"role": "assistant", "content": ""}, None, usage=USAGE)
    reply = open_chat()
    assert list(read_frames(play(reply, write_frames(TEXT, STOP, again)))) == [TEXT, STOP]
    assert reply.usage == Usage(3, 2, 5)


@pytest.mark.parametrize(
    ("delta", "seen"),
    [
        ({"role": "assistant", "content": ""}, False),
        ({"role": "assistant", "content": None}, False),
        ({"role": "assistant", "tool_calls": []}, False),
        ({"content": " "}, True),
        ({"refusal": "No"}, True),
        ({"reasoning_content": "Hm"}, True),
        ({"reasoning": "Hm"}, True),
        ({"reasoning": [{"text": "Hm"}]}, True),
        ({"tool_calls": [{"index": 0, "id": "a"}]}, True),
        ({"function_call": {"name": "f"}}, True),
        ({"audio": {"data": "AA"}}, True),
    ],
)
def test_content_is_more_than_the_role(delta: object, *, seen: bool) -> None:
    reply = open_chat()
    assert not reply.content_seen
    assert reply.feed(write_frames(make_chunk(delta)))
    assert reply.content_seen is seen
    reply.feed(write_frames(STOP))
    assert reply.content_seen
