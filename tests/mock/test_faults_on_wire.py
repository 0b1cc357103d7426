"""Every fault does on the wire what its sentence says: seen from a bare socket."""

import gzip
import json
import socket
import time
import zlib
from collections.abc import Iterator

import pytest

from mocking import DIALECTS, SAID, Heard, ask, hear, run_mock
from trunkline.mock import FAULTS, Fault, MockServer, always, first
from trunkline.mock.behaviour import Dialect


@pytest.fixture(scope="module")
def mock() -> Iterator[MockServer]:
    with run_mock() as server:
        yield server


def play(
    mock: MockServer, fault: str, *, stream: bool = False, dialect: Dialect = "openai"
) -> Heard:
    return ask(mock, dialect, f"fault:{fault}", stream=stream)


def read_frames(heard: Heard) -> list[str]:
    """The data of server-sent events, as a strict reader would see them."""
    text = heard.body.decode().replace("\r\n", "\n")
    return [
        line.removeprefix("data: ")
        for block in text.split("\n\n")
        for line in block.split("\n")
        if line.startswith("data: ")
    ]


def read_text(heard: Heard) -> str:
    """The content of all frames that are whole."""
    said = ""
    for frame in read_frames(heard):
        if frame.startswith("{") and frame.endswith("}"):
            for choice in json.loads(frame).get("choices", ()):
                said += choice["delta"].get("content") or ""
    return said


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("name", "status"), [(name, kind.status) for name, kind in FAULTS.items() if kind.status]
)
def test_a_status_comes_with_an_error_body(
    mock: MockServer, name: str, status: int, dialect: Dialect
) -> None:
    if not FAULTS[name].applies("text" if dialect == "llm-engine" else "chat", stream=True):
        return
    heard = play(mock, name, stream=True, dialect=dialect)
    assert heard.status == status
    assert {*json.loads(heard.body)} & {"error", "message", "detail"}
    assert ("retry-after: 1" in heard.head) == (name in ("status_429", "status_503"))
    assert heard.is_ended
    if dialect == "bedrock":
        assert "x-amzn-errortype: " in heard.head


def test_a_status_can_be_any(mock: MockServer) -> None:
    assert play(mock, "status:status=418").status == 418
    assert "location: http://" in play(mock, "redirect").head


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("kind", "end"), [("hang", "silence"), ("cut", "fin"), ("reset", "rst")])
def test_an_answer_stops_where_it_is_told_to(
    mock: MockServer, kind: str, end: str, *, stream: bool
) -> None:
    heard = play(mock, f"{kind}:at=head", stream=stream)
    assert (heard.data, heard.end) == (b"", end)
    heard = play(mock, f"{kind}:at=before_content", stream=stream)
    assert heard.end == end
    assert heard.status == 200
    assert not heard.is_ended
    assert b"one" not in heard.body
    heard = play(mock, f"{kind}:at=after_content,after=2", stream=stream)
    assert heard.end == end
    assert not heard.is_ended
    if stream:
        assert read_text(heard) == "one two"
    else:
        assert heard.body.startswith(b"{")
    heard = play(mock, f"{kind}:at=end", stream=stream)
    assert heard.end == end
    assert heard.is_ended is not stream
    assert b'"finish_reason":"stop"' in heard.body


@pytest.mark.parametrize(("kind", "end"), [("cut", "fin"), ("reset", "rst")])
def test_a_connection_is_ended_before_a_request(kind: str, end: str) -> None:
    with run_mock(first(1, Fault(kind, at="connect"))) as mock:
        with socket.create_connection((mock.host, mock.port)) as sock:
            assert hear(sock) == Heard(b"", end)
        assert ask(mock).status == 200
        assert [(each.at, each.cut) for each in mock.served] == [("connect", True), ("", False)]


@pytest.mark.parametrize("at", ["head", "before_content", "after_content", "end"])
def test_a_delay_changes_nothing_but_the_time(mock: MockServer, at: str) -> None:
    heard = play(mock, f"delay:at={at},delay_s=0.05", stream=True)
    assert heard.is_ended
    assert read_text(heard) == SAID
    served = mock.served[-1]
    assert served.ended_at is not None
    assert 0.05 <= served.ended_at - served.began_at < 5


def test_a_drip_waits_before_every_frame(mock: MockServer) -> None:
    heard = play(mock, "drip:delay_s=0.02", stream=True)
    assert read_text(heard) == SAID
    served = mock.served[-1]
    assert served.ended_at is not None
    assert served.ended_at - served.began_at >= 0.02 * len(read_frames(heard))


def test_an_early_end_is_clean_but_has_no_finish_reason(mock: MockServer) -> None:
    for at, said in (("before_content", ""), ("after_content", "one")):
        heard = play(mock, f"early_end:at={at}", stream=True)
        assert heard.is_ended
        assert read_text(heard) == said
        assert b'"stop"' not in heard.body
        assert b"[DONE]" not in heard.body
        whole = play(mock, f"early_end:at={at}")
        assert whole.is_ended
        with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
            json.loads(whole.body)


def test_an_end_without_the_last_frame(mock: MockServer) -> None:
    heard = play(mock, "no_done", stream=True)
    assert heard.is_ended
    assert read_text(heard) == SAID
    assert b"[DONE]" not in heard.body
    assert b"message_stop" not in play(mock, "no_done", stream=True, dialect="anthropic").body


@pytest.mark.parametrize("at", ["before_content", "after_content"])
def test_broken_json(mock: MockServer, at: str) -> None:
    for stream in (False, True):
        heard = play(mock, f"truncated_json:at={at}", stream=stream)
        assert heard.is_ended
        assert not heard.body.endswith((b"}", b"\n\n"))
    heard = play(mock, f"broken_frame:at={at}", stream=True)
    assert heard.is_ended
    assert read_text(heard) == SAID  # all else is there
    broken = [frame for frame in read_frames(heard) if frame[0] == "{" and frame[-1] != "}"]
    assert len(broken) == 1


@pytest.mark.parametrize("at", ["before_content", "after_content"])
def test_bytes_that_make_no_sense(mock: MockServer, at: str) -> None:
    for stream in (False, True):
        heard = play(mock, f"garbage:at={at},seed=3", stream=stream)
        assert heard.is_ended
        assert heard.body == play(mock, f"garbage:at={at},seed=3", stream=stream).body
        assert heard.body != play(mock, f"garbage:at={at},seed=4", stream=stream).body
        spoiled = play(mock, f"bad_utf8:at={at}", stream=stream)
        assert spoiled.is_ended
        with pytest.raises(UnicodeDecodeError):
            spoiled.body.decode()
        assert b"zz\r\n" in play(mock, f"bad_chunk:at={at}", stream=stream).rest


def test_what_is_no_http(mock: MockServer) -> None:
    heard = play(mock, "bad_http")
    assert heard.data.startswith(b"SSH-2.0")
    assert heard.end == "fin"
    heard = play(mock, "long_head:size_bytes=100000")
    assert f"x-long: {'x' * 100_000}" in heard.head


def test_pages_and_types(mock: MockServer) -> None:
    for stream in (False, True):
        heard = play(mock, "html", stream=stream)
        assert "content-type: text/html" in heard.head
        assert heard.body.startswith(b"<!doctype html>")
        heard = play(mock, "empty", stream=stream)
        assert (heard.status, heard.body, heard.is_ended) == (200, b"", True)
        assert "content-type: text/plain" in play(mock, "wrong_type", stream=stream).head
        assert "content-type" not in play(mock, "no_type", stream=stream).head
    assert json.loads(play(mock, "json_for_stream", stream=True).body)["choices"]
    heard = play(mock, "sse_for_whole")
    assert "content-type: text/event-stream" in heard.head
    assert read_text(heard) == SAID


@pytest.mark.parametrize("dialect", DIALECTS)
def test_errors_inside_a_200(mock: MockServer, dialect: Dialect) -> None:
    heard = play(mock, "error_in_200", dialect=dialect)
    assert heard.status == 200
    value = json.loads(heard.body)
    assert "choices" not in value
    for kind in ("error_in_200", "error_event"):
        early = play(mock, f"{kind}:at=before_content", stream=True, dialect=dialect)
        late = play(mock, f"{kind}:at=after_content", stream=True, dialect=dialect)
        assert early.is_ended
        assert late.is_ended
        assert b"one" not in early.body
        assert b"one" in late.body
        assert b" two" not in late.body
    if dialect == "openai":
        assert b"event: error\n" in early.body


def test_frames_twice_swapped_and_late(mock: MockServer) -> None:
    assert read_text(play(mock, "duplicate", stream=True)) == "oneone two  three"
    assert mock.served[-1].text == "oneone two  three"
    assert read_text(play(mock, "reorder", stream=True)) == " twoone  three"
    assert mock.served[-1].text == " twoone  three"
    heard = play(mock, "after_finish", stream=True)
    frames = read_frames(heard)
    assert '"finish_reason":"stop"' in frames[-3]
    assert '"content":"one"' in frames[-2]
    heard = play(mock, "trailing_garbage:body=more", stream=True)
    assert heard.body.endswith(b"data: [DONE]\n\nmore")
    assert play(mock, "trailing_garbage:body=more").body.endswith(b"}more")


def test_lengths_that_lie(mock: MockServer) -> None:
    for stream in (False, True):
        for kind, is_more in (("short_length", True), ("long_length", False)):
            heard = play(mock, kind, stream=stream)
            promised = int(heard.head.partition("content-length: ")[2].partition("\r")[0])
            assert (len(heard.rest) > promised) == is_more
            assert len(heard.rest) != promised
            assert heard.end == "fin"


def test_ends_and_counts(mock: MockServer) -> None:
    for kind, finish in (("length_finish", "length"), ("filter_finish", "content_filter")):
        (choice,) = json.loads(play(mock, f"{kind}:after=2").body)["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("one two", finish)
        assert read_text(play(mock, kind, stream=True)) == "one"
    assert "usage" not in json.loads(play(mock, "no_usage").body)
    assert mock.served[-1].output_tokens is None
    assert json.loads(play(mock, "lying_usage").body)["usage"]["prompt_tokens"] == 1_000_000
    (choice,) = json.loads(play(mock, "bad_tool_arguments").body)["choices"]
    (call,) = choice["message"]["tool_calls"]
    with pytest.raises(ValueError, match="Unterminated"):
        json.loads(call["function"]["arguments"])


def test_a_huge_frame(mock: MockServer) -> None:
    heard = play(mock, "huge_frame:size_bytes=200000", stream=True)
    assert max(map(len, read_frames(heard))) > 200_000
    assert len(read_text(heard)) == len(SAID) + 200_000


def test_harmless_ways_to_send(mock: MockServer) -> None:
    plain = ask(mock, model="fault:informational", stream=True)
    assert plain.data.startswith(b"HTTP/1.1 103 Early Hints\r\n")
    assert b"\r\n\r\nHTTP/1.1 200 OK\r\n" in plain.data
    for kind in ("byte_writes", "crlf", "comments"):
        heard = play(mock, kind, stream=True)
        assert heard.is_ended
        assert read_text(heard) == SAID
        assert (b"\r\n\r\n" in heard.body) == (kind == "crlf")
        assert (b": mock\n\n" in heard.body) == (kind == "comments")
    assert b"event: ping" in play(mock, "comments", stream=True, dialect="anthropic").body


def test_compression_nobody_asked_for(mock: MockServer) -> None:
    heard = play(mock, "gzip")
    assert "content-encoding: gzip" in heard.head
    assert json.loads(gzip.decompress(heard.body))["choices"]
    heard = play(mock, "gzip", stream=True)
    assert b"[DONE]" in zlib.decompress(heard.body, wbits=31)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [False, True])
def test_every_kind_can_be_played_everywhere(
    mock: MockServer, dialect: Dialect, *, stream: bool
) -> None:
    operation = "text" if dialect == "llm-engine" else "chat"
    for name, kind in FAULTS.items():
        if not kind.applies(operation, dialect, stream=stream):
            continue
        for at in kind.at:
            if at == "connect" or name in ("hang", "long_head"):
                continue
            fault = f"fault:{name}:at={at},delay_s=0,size_bytes=2000"
            heard = ask(mock, dialect, fault, stream=stream)
            assert heard.data or name in ("cut", "reset"), (name, at)
            served = mock.served[-1]
            assert (served.fault, served.at, served.dialect) == (name, at, dialect)


def test_a_fault_that_does_not_exist_for_a_request_is_not_played(mock: MockServer) -> None:
    heard = play(mock, "comments")
    assert json.loads(heard.body)["choices"][0]["message"]["content"] == SAID
    assert mock.served[-1].fault == ""


def test_a_client_that_leaves_is_noted(mock: MockServer) -> None:
    before = len(mock.served)
    play(mock, "hang:at=after_content", stream=True)
    served = mock.served[before]
    give_up_s = time.monotonic() + 5
    while not served.has_ended:
        assert time.monotonic() < give_up_s
    assert served.client_left_at is not None
    assert not served.completed
    assert served.text == "one"


def test_a_plan_may_change_while_it_runs() -> None:
    with run_mock(always(Fault("html"))) as mock:
        assert ask(mock).body.startswith(b"<!doctype")
        mock.plan = always(None)
        assert json.loads(ask(mock).body)["choices"]
