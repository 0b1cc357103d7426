"""The chaos client's own HTTP reader: the same answer however its bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.chaos.answer import AnswerReader

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n1;x=y\r\n,\r\n6\r\n world\r\n0\r\n\r\n"
)
SIZED = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 5\r\n\r\nsorry"


def read(data: bytes, cuts: list[int]) -> AnswerReader:
    reader = AnswerReader()
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    for start, end in zip([0, *places], [*places, len(data)], strict=True):
        reader.feed(data[start:end])
    return reader


@given(st.lists(st.integers(0, 10_000)))
def test_any_cutting_gives_the_same_answer(cuts: list[int]) -> None:
    chunked = read(CHUNKED, cuts)
    assert (chunked.status, bytes(chunked.body), chunked.is_over) == (200, b"hello, world", True)
    assert chunked.headers["content-type"] == "text/event-stream"
    sized = read(SIZED, cuts)
    assert (sized.status, bytes(sized.body), sized.is_over) == (502, b"sorry", True)
    assert chunked.broken == sized.broken == ""


@given(st.integers(0, len(CHUNKED) - 1), st.integers(0, len(SIZED) - 1))
def test_a_cut_anywhere_is_no_end(chunked_at: int, sized_at: int) -> None:
    for data in (CHUNKED[:chunked_at], SIZED[:sized_at]):
        reader = read(data, [])
        reader.close()
        assert not reader.is_over
        assert not reader.broken


def test_without_a_length_the_close_is_the_end() -> None:
    whole = b"HTTP/1.1 200 OK\r\n\r\nall of it"
    assert not read(whole, []).is_over
    reader = read(whole, [])
    reader.close()
    assert reader.is_over
    assert reader.body == b"all of it"


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        CHUNKED + b"more",
        SIZED + b"more",
        CHUNKED.replace(b"5\r\nhello", b"zz\r\nhello"),
        CHUNKED.replace(b"5\r\nhello", b"4\r\nhello"),
    ],
)
def test_what_no_server_may_send_is_told(data: bytes) -> None:
    assert read(data, []).broken


def test_a_body_that_is_empty_is_over_at_once() -> None:
    assert read(b"HTTP/1.1 204 OK\r\ncontent-length: 0\r\n\r\n", []).is_over
