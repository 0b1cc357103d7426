import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import GatewayError
from trunkline.wire.failure import write_failure
from trunkline.wire.sse import (
    FRAME_LIMIT_BYTES,
    Frame,
    SseReader,
    escape_non_ascii,
    write_error_frame,
    write_frame,
)
from wire.sample import any_json, some_examples, split


def read_all(*pieces: bytes) -> list[Frame]:
    reader = SseReader()
    frames = [frame for piece in pieces for frame in reader.feed(piece)]
    return frames + reader.close()


@pytest.mark.parametrize(
    ("stream", "frames"),
    [
        (b"data: a\n\n", [Frame(b"a")]),
        (b"data:a\n\n", [Frame(b"a")]),
        (b"data:  a\n\n", [Frame(b" a")]),
        (b"data: a\n\ndata: b\n\n", [Frame(b"a"), Frame(b"b")]),
        (b"data: a\n\n\n\ndata: b\n\n", [Frame(b"a"), Frame(b"b")]),
        (b"data: a\ndata: b\n\n", [Frame(b"a\nb")]),
        (b"data\ndata: b\n\n", [Frame(b"\nb")]),
        (b"event: error\ndata: a\n\n", [Frame(b"a", b"error")]),
        (b"data: a\nevent:error\n\n", [Frame(b"a", b"error")]),
        (b"event: error\ndata: a\n\ndata: b\n\n", [Frame(b"a", b"error"), Frame(b"b")]),
        (b"event: done\n\ndata: b\n\n", [Frame(b"b")]),
        (b": ping\n\ndata: a\n\n", [Frame(b"a")]),
        (b": ping\ndata: a\n: pong\n\n", [Frame(b"a")]),
        (b"id: 7\nretry: 3000\ndata: a\n\n", [Frame(b"a")]),
        (b"retry: 3000\n\n", []),
        (b"data: \n\n", []),
        (b"data:\n\n", []),
        (b"data\n\n", []),
        (b"database: a\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n", [Frame(b"a")]),
        (b"data: a", [Frame(b"a")]),
        (b"data: a\n", [Frame(b"a")]),
        (b"data: a\n\ndata: b\n", [Frame(b"a"), Frame(b"b")]),
        (b"event: error\ndata: a\n", [Frame(b"a", b"error")]),
        (b": ping", []),
        (b"", []),
        (b"\n\n\n", []),
        (b"<html>\n\n</html>\n\n", []),
    ],
)
@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_frames_are_read_as_the_standard_says(
    stream: bytes, frames: list[Frame], newline: bytes
) -> None:
    stream = stream.replace(b"\n", newline)
    assert read_all(stream) == frames
    assert read_all(*(stream[i : i + 1] for i in range(len(stream)))) == frames
    for place in range(len(stream)):
        assert read_all(stream[:place], stream[place:]) == frames


def test_newlines_may_change_within_a_stream() -> None:
    stream = b"data: a\r\n\ndata: b\n\r\ndata: c\r\rdata: d\n\n"
    for place in range(len(stream)):
        frames = read_all(stream[:place], stream[place:])
        assert [frame.data for frame in frames] == [b"a", b"b", b"c", b"d"]


@some_examples
@given(st.lists(any_json, min_size=1, max_size=5), st.sampled_from([b"\n", b"\r\n"]), st.data())
def test_any_json_survives_writing_chunking_and_reading(
    values: list[object], newline: bytes, data: st.DataObject
) -> None:
    payloads = [msgspec.json.encode(value) for value in values]
    stream = b"".join(write_frame(payload) for payload in payloads)
    assert stream.isascii()
    assert stream.count(b"\n") == 2 * len(values)
    stream = stream.replace(b"\n", newline)
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=6))
    frames = read_all(*split(stream, *places))
    assert [msgspec.json.decode(frame.data) for frame in frames] == [
        msgspec.json.decode(payload) for payload in payloads
    ]


@some_examples
@given(st.lists(st.sampled_from([b"data: ", b"data:", b"event: error", b":", b"\r", b"\n", b"x"])))
def test_chunking_never_changes_what_is_read(parts: list[bytes]) -> None:
    stream = b"".join(parts)
    whole = read_all(stream)
    assert read_all(*(stream[i : i + 1] for i in range(len(stream)))) == whole
    for place in range(len(stream)):
        assert read_all(stream[:place], stream[place:]) == whole


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain", b"plain"),
        ("é", b"\\u00e9"),
        ("\u2028\u2029\u0085", b"\\u2028\\u2029\\u0085"),
        ("👋", b"\\ud83d\\udc4b"),
        ("a👋é", b"a\\ud83d\\udc4b\\u00e9"),
        ("\uffff", b"\\uffff"),
    ],
)
def test_what_some_readers_take_for_a_line_end_is_escaped(text: str, escaped: bytes) -> None:
    assert write_frame(f'"{text}"'.encode()) == b'data: "' + escaped + b'"\n\n'


def test_escapes_of_lone_surrogates_pass_as_they_are() -> None:
    assert write_frame(b'"\\ud83d"') == b'data: "\\ud83d"\n\n'


def test_bytes_that_are_no_utf8_become_replacement_characters() -> None:
    assert escape_non_ascii(b'"a\xffb"') == b'"a\\ufffdb"'


def test_json_over_several_lines_is_written_on_one() -> None:
    frame = write_frame(b'{\n  "a": "x\\ny"\n}')
    assert frame.count(b"\n") == 2
    assert msgspec.json.decode(frame[6:]) == {"a": "x\ny"}


def test_a_frame_without_end_is_refused() -> None:
    reader = SseReader()
    piece = b"x" * (FRAME_LIMIT_BYTES // 4)
    with pytest.raises(GatewayError, match="over 16 MiB") as caught:
        for _ in range(5):
            reader.feed(piece)
    assert caught.value.code == "upstream_error"


def test_a_failure_in_a_stream_is_a_named_frame_of_one_line() -> None:
    error = GatewayError("upstream_error", "Zürich\u2028is silent.")
    frame = write_error_frame(error, "req_1")
    assert frame.isascii()
    assert frame.startswith(b"event: error\ndata: {")
    assert frame.count(b"\n") == 3
    [read] = read_all(frame)
    assert read.event == b"error"
    assert msgspec.json.decode(read.data) == msgspec.json.decode(write_failure(error, "req_1"))
