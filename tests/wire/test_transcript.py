"""What a client has been given, read back from its own frames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.wire.reply import StreamReply
from trunkline.wire.transcript import LIMIT_BYTES, RecordedReply, Transcript
from wire.sample import make_chunk, open_chat, open_native, some_examples, split, write_frames

HELLO = make_chunk({"role": "assistant", "content": ""})
STOP = make_chunk({}, "stop")


def record(inner: StreamReply, *pieces: bytes) -> RecordedReply:
    reply = RecordedReply(inner)
    for piece in pieces:
        # As a connection offers it: the short way first, within a chunk of HTTP.
        chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
        start = chunk.index(b"\n") + 1
        if reply.feed_token(chunk, start, len(chunk) - 2) is None:
            reply.feed(piece)
    return reply


def write_texts(*texts: str) -> list[bytes]:
    return [write_frames(make_chunk({"content": text})) for text in texts]


@some_examples
@given(texts=st.lists(st.text(), max_size=9), places=st.lists(st.integers(0, 2000)))
def test_the_text_is_what_the_client_was_given(texts: list[str], places: list[int]) -> None:
    frames = [write_frames(HELLO), *write_texts(*texts)]
    for opened in (open_chat, open_native):
        for pieces in (frames, split(b"".join(frames), *places)):
            reply = record(opened(), *pieces)
            assert reply.transcript.read_text() == "".join(texts)
            assert reply.transcript.is_plain
            assert not reply.transcript.has_ended
            assert not reply.has_thoughts()


def test_tokens_that_take_the_short_way_are_kept_too() -> None:
    for opened in (open_chat, open_native):
        reply = record(opened(), write_frames(HELLO), *write_texts(*"abcdefgh"))
        assert reply.pieces == 8
        assert reply.transcript.read_text() == "abcdefgh"


def test_the_head_is_that_of_the_first_chunk() -> None:
    head = {"id": "c1", "created": 1, "model": "m"}
    reply = record(open_chat(), write_frames(HELLO), *write_texts("Hi"))
    reply.transcript.read_text()
    assert reply.transcript.head == head
    assert not record(open_native(), *write_texts("Hi")).transcript.head


def test_a_finish_reason_ends_it() -> None:
    for opened in (open_chat, open_native):
        reply = record(opened(), *write_texts("Hi"), write_frames(STOP))
        reply.transcript.read_text()
        # A native completion is given its finish reason with the last chunk.
        assert reply.transcript.has_ended == (opened is open_chat)


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning_content": "Hm"},
        {"refusal": "No"},
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]},
        {"content": "Hi", "annotations": [{"type": "url_citation"}]},
    ],
    ids=lambda delta: list(delta)[-1],
)
def test_whatever_else_is_no_plain_text(delta: dict[str, object]) -> None:
    reply = record(open_chat(), write_frames(HELLO, make_chunk(delta)))
    reply.transcript.read_text()
    assert not reply.transcript.is_plain


def test_another_choice_and_log_probabilities_are_no_plain_text() -> None:
    choice = {"index": 1, "delta": {"content": "x"}, "finish_reason": None}
    probable = {"index": 0, "delta": {"content": "x"}, "logprobs": {"content": []}}
    for each in (choice, probable | {"finish_reason": None}):
        transcript = Transcript()
        transcript.add(write_frames(make_chunk(choices=[each])))
        transcript.read_text()
        assert not transcript.is_plain


def test_thoughts_that_a_completion_does_not_show_are_noticed() -> None:
    thought = write_frames(make_chunk({"reasoning_content": "Hm"}))
    assert record(open_native(), thought, *write_texts("Hi")).has_thoughts()


def test_half_a_character_cannot_be_continued() -> None:
    high, low = (
        write_frames(
            b'{"id":"c1","object":"chat.completion.chunk","created":1,"model":"m",'
            b'"choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}' % half
        )
        for half in (b"\\ud83d", b"\\ude00")
    )
    with pytest.raises(UnicodeError):
        record(open_chat(), high).transcript.read_text()
    assert record(open_chat(), high, low).transcript.read_text() == "\U0001f600"


def test_a_long_text_is_kept_no_longer() -> None:
    transcript = Transcript()
    for frame in write_texts(*["x" * 65536] * (LIMIT_BYTES // 65536 - 1)):
        transcript.add(frame)
    assert len(transcript.read_text()) == LIMIT_BYTES - 65536
    assert transcript.is_plain
    for frame in write_texts(*["x" * 65536] * 3):
        transcript.add(frame)
    assert transcript.read_text() == ""
    assert not transcript.is_plain
