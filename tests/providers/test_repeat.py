"""An answer that repeats the head of the one before says what a parser would read in it."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.net import StillTransport
from trunkline.providers.connection import DONE, WAITING, Connection

LINES = st.lists(
    st.sampled_from(
        [
            ("Server", "a"),
            ("Server", "b"),
            ("Date", "Sun, 22 Nov 2026 11:00:00 GMT"),
            ("Date", "Sun, 22 Nov 2026 11:00:01 GMT"),
            ("Content-Type", "application/json"),
            ("Connection", "keep-alive"),
        ]
    ),
    max_size=3,
    unique_by=lambda line: line[0],
)
ANSWERS = st.lists(
    st.tuples(
        st.sampled_from([200, 429, 500]),
        LINES,
        st.binary(max_size=20),
        st.sampled_from(["whole", "chunked", "split"]),
        st.integers(1, 90),
    ),
    min_size=2,
    max_size=8,
)


def write(status: int, lines: list[tuple[str, str]], body: bytes, *, chunked: bool) -> bytes:
    fields = [f"{name}: {value}" for name, value in lines]
    fields.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}")
    head = "\r\n".join([f"HTTP/1.1 {status} So", *fields, "", ""]).encode()
    if not chunked:
        return head + body
    return head + (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"


def make_connection() -> Connection:
    connection = Connection(asyncio.new_event_loop(), lambda _: None)
    connection.connection_made(StillTransport())
    return connection


@given(ANSWERS, st.booleans())
def test_each_answer_is_read_as_if_it_were_alone(
    answers: list[tuple[int, list[tuple[str, str]], bytes, str, int]], alike: bool
) -> None:
    connection = make_connection()
    for status, own, body, framing, cut in answers:
        lines = answers[0][1] if alike else own
        data = write(status, lines, body, chunked=framing == "chunked")
        connection.begin()
        assert connection.phase == WAITING
        pieces = [data[:cut], data[cut:]] if framing == "split" else [data]
        for piece in filter(None, pieces):
            connection.data_received(piece)
        assert (connection.phase, connection.failure, connection.status) == (DONE, None, status)
        assert connection.is_reusable
        fields = {name.lower(): value for name, value in connection.fields.items()}
        assert {name: fields.pop(name.lower().encode()) for name, _ in lines} == {
            name: value.encode() for name, value in lines
        }
        assert set(fields) <= {b"content-length", b"transfer-encoding"}
        assert connection.take() == body
        connection.rest()
    connection.loop.close()


def test_a_head_that_repeats_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = make_connection()
    parsed: list[bytes] = []
    feed = connection._feed

    def note(data: bytes) -> object:
        parsed.append(data)
        return feed(data)

    monkeypatch.setattr(connection, "_feed", note)
    for body in (b"one", b"two", b"a longer one", b"3"):
        connection.begin()
        connection.data_received(write(200, [("Server", "a")], body, chunked=False))
        assert connection.take() == body
        connection.rest()
    connection.loop.close()
    assert len(parsed) == 1


def test_what_follows_a_whole_answer_spoils_the_connection_and_not_the_answer() -> None:
    connection = make_connection()
    for more in (b"", b"x"):
        connection.begin()
        connection.data_received(write(200, [], b"body", chunked=False) + more)
        assert connection.phase == DONE
        assert connection.take() == b"body"
        assert connection.is_reusable is not bool(more)
        connection.rest()
    connection.loop.close()


def test_the_status_is_that_of_the_answer_and_not_of_one_between() -> None:
    connection = make_connection()
    fine = write(200, [], b"fine", chunked=False)
    broken = write(500, [], b"broken", chunked=False)
    for status, pieces in ((200, [fine]), (500, [broken[:-3], broken[-3:]]), (200, [fine])):
        connection.begin()
        for piece in pieces:
            connection.data_received(piece)
        assert connection.status == status
        connection.take()
        connection.rest()
    connection.loop.close()
