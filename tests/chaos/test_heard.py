"""What a client hears is read in the door's own dialect, and broken rules are named."""

import json
from typing import Any

import pytest

from trunkline.chaos.answer import AnswerReader
from trunkline.chaos.heard import Door, Heard, read_heard

ERROR = {"detail": "No.", "error": {"message": "No.", "code": "upstream_error"}, "request_id": "r"}


def hear(body: str, door: Door = "openai", *, status: int = 200, stream: bool = True) -> Heard:
    kind = "text/event-stream" if stream else "application/json"
    data = body.encode()
    reader = AnswerReader()
    reader.feed(f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n".encode())
    reader.feed(b"content-length: %d\r\n\r\n%b" % (len(data), data))
    return read_heard(reader, door)


def frame(value: Any) -> str:
    return f"data: {json.dumps(value)}\n\n"


def chunk(text: str | None, reason: str | None = None) -> str:
    delta = {} if text is None else {"content": text}
    return frame({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})


def completion(text: str, reason: str | None = None, usage: Any = None) -> str:
    inner = {"text": text, "finish_reason": reason}
    return frame({"completion": inner, "token_usage": usage})


def test_a_stream_is_joined() -> None:
    used = frame({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    heard = hear(f": ping\n\n{chunk('He')}{chunk('y')}{chunk(None, 'stop')}{used}data: [DONE]\n\n")
    assert (heard.text, heard.finish_reason, heard.usage) == ("Hey", "stop", (3, 2))
    assert (heard.done, heard.fault, heard.error) == (1, "", None)


def test_a_native_stream_is_joined() -> None:
    usage = {"prompt": 3, "completion": 2, "total": 5}
    heard = hear(completion("He") + completion("y", "length", usage), "sgp")
    assert (heard.text, heard.finish_reason, heard.usage) == ("Hey", "length", (3, 2))


def test_whole_answers_are_read() -> None:
    message = {"role": "assistant", "content": "Hey"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = hear(json.dumps({"choices": [choice]}), stream=False)
    assert (whole.text, whole.finish_reason, whole.fault) == ("Hey", "stop", "")
    failed = hear(json.dumps(ERROR), status=502, stream=False)
    assert (failed.error, failed.code) == (ERROR, "upstream_error")


def test_an_error_frame_is_the_failure() -> None:
    heard = hear(f"{chunk('He')}event: error\n{frame(ERROR)}")
    assert (heard.text, heard.error, heard.code) == ("He", ERROR, "upstream_error")


@pytest.mark.parametrize(
    ("body", "door"),
    [
        (f"event: error\n{frame(ERROR)}{chunk('more')}", "openai"),
        (frame(ERROR), "openai"),
        (frame(ERROR), "sgp"),
        (f"data: [DONE]\n\n{chunk('more')}", "openai"),
        (f"event: message\n{chunk('x')}", "openai"),
        (f"id: 7\n\n{chunk('x')}", "openai"),
        ("data: {\n\n", "openai"),
        (chunk("x")[:-1], "openai"),
        (f"data:{chunk('x')[6:]}", "openai"),
        ("<html>", "beta"),
    ],
)
def test_broken_rules_are_named(body: str, door: Door) -> None:
    assert hear(body, door).fault


def test_an_answer_that_never_came_has_no_status() -> None:
    heard = read_heard(AnswerReader(), "beta")
    assert (heard.status, heard.ended, heard.fault) == (0, False, "")
