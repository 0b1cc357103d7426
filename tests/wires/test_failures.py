"""A vendor fails in its own way; every client learns of it in ours, and nothing of the vendor's."""

import json
from typing import Any

import httpx
import openai
import pytest
import scale_gp
import scale_gp_beta

from wires.asked import ask_for_thought
from wires.dialect import DIALECTS
from wires.failing import FAILURES, INSIDE, OVERFLOW_PHRASE, WORDS, Failure, answer_inside
from wires.stage import CLIENTS, Answer, Stage

STATUS_ERRORS = (scale_gp.APIStatusError, scale_gp_beta.APIStatusError, openai.APIStatusError)
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
CASES = [
    pytest.param(wire, failure, id=f"{wire}-{name}")
    for wire, failures in FAILURES.items()
    for name, failure in failures.items()
]


def fail(stage: Stage, wire: str, client: str, answer: Answer, *, stream: bool) -> Any:
    """The error that a client raises before it hands anything out."""
    given = {"model": DIALECTS[wire].name, **ask_for_thought()}
    with pytest.raises(STATUS_ERRORS) as caught:
        stage.ask(client, given, stream=stream, answer=answer)
    check_silence(caught.value)
    return caught.value


def check_silence(error: Any) -> None:
    """Neither the key nor the vendor's words are anywhere in the error."""
    seen = [str(error), repr(getattr(error, "body", ""))]
    response = getattr(error, "response", None)
    if response is not None:
        seen += [str(response.headers), "" if response.is_stream_consumed else response.text]
    for secret in WORDS.split():
        assert not any(secret in text for text in seen)


def read_body(error: Any) -> dict[str, Any]:
    """Our error object, out of whatever a client makes of it."""
    body = error.body if isinstance(error, openai.APIError) else error.body["error"]
    assert isinstance(body, dict)
    return body


@STREAMED
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(("wire", "failure"), CASES)
def test_a_status(stage: Stage, wire: str, failure: Failure, client: str, *, stream: bool) -> None:
    error = fail(stage, wire, client, failure.answer, stream=stream)
    assert (error.status_code, read_body(error)["code"]) == (failure.told_status, failure.told)
    headers = error.response.headers
    assert headers.get("retry-after", "") == failure.wait_s
    assert headers["x-request-id"].startswith("req_")
    if failure.told in ("upstream_auth", "insufficient_quota"):
        assert headers["x-should-retry"] == "false"
    if failure.told == "context_length_exceeded":
        assert OVERFLOW_PHRASE in read_body(error)["message"]


@pytest.mark.parametrize("wire", ["anthropic", "bedrock", "cohere", "gemini"])
def test_an_overflow_is_told_with_its_limit(stage: Stage, wire: str) -> None:
    error = fail(stage, wire, "openai", FAILURES[wire]["overflow"].answer, stream=False)
    assert f"{OVERFLOW_PHRASE} 200000 tokens." in error.message


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("wire", DIALECTS)
def test_an_error_inside_a_stream_before_its_content(stage: Stage, wire: str, client: str) -> None:
    inside = INSIDE[wire]
    error = fail(stage, wire, client, answer_inside(wire, inside.before, inside.frame), stream=True)
    assert (error.status_code, read_body(error)["code"]) == (inside.told_status, inside.told)


def read_until_broken(stage: Stage, wire: str, client: str, answer: Answer) -> tuple[str, Any]:
    """The text that a client hands out of a stream, and the error that ends it."""
    given = {"model": DIALECTS[wire].name, **ask_for_thought()}
    texts: list[str] = []
    with pytest.raises(find_broken(client)) as caught:
        for chunk in stage.read(client, given, answer=answer):
            texts.append(chunk.choices[0].delta.content or "")  # noqa: PERF401 - it breaks off
    check_silence(caught.value)
    return "".join(texts), caught.value


def find_broken(client: str) -> type[Exception]:
    """What a client raises in mid-stream; the v5 SDK passes over named events."""
    errors: dict[str, type[Exception]] = {
        "scale-gp": scale_gp.APIStatusError,
        "scale-gp-beta": httpx.RemoteProtocolError,
        "openai": openai.APIError,
    }
    return errors[client]


def check_code(error: Any, client: str, code: str) -> None:
    if client != "scale-gp-beta":
        assert read_body(error)["code"] == code


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("wire", DIALECTS)
def test_an_error_inside_a_stream_after_its_content(stage: Stage, wire: str, client: str) -> None:
    inside = INSIDE[wire]
    answer = answer_inside(wire, inside.after, inside.frame)
    text, error = read_until_broken(stage, wire, client, answer)
    assert text == "No: Rome "
    check_code(error, client, inside.told)


@pytest.mark.parametrize("is_cut", [True, False], ids=["cut", "ended early"])
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("wire", DIALECTS)
def test_a_stream_that_stops_in_the_middle(
    stage: Stage, wire: str, client: str, *, is_cut: bool
) -> None:
    answer = answer_inside(wire, INSIDE[wire].after, is_cut=is_cut)
    text, error = read_until_broken(stage, wire, client, answer)
    assert text == "No: Rome "
    check_code(error, client, "upstream_error")


@pytest.mark.parametrize("is_cut", [True, False], ids=["cut", "ended early"])
@pytest.mark.parametrize("wire", DIALECTS)
def test_a_stream_that_stops_before_its_content(stage: Stage, wire: str, *, is_cut: bool) -> None:
    answer = answer_inside(wire, INSIDE[wire].before, is_cut=is_cut)
    error = fail(stage, wire, "openai", answer, stream=True)
    assert (error.status_code, error.code) == (502, "upstream_error")


@pytest.mark.parametrize("body", ["page", "failure"])
@pytest.mark.parametrize("wire", DIALECTS)
def test_a_200_that_is_no_answer(stage: Stage, wire: str, body: str) -> None:
    failure = json.dumps(FAILURES[wire]["broken"].body)
    answer = Answer(((f"<html>{WORDS}</html>" if body == "page" else failure).encode(),))
    error = fail(stage, wire, "openai", answer, stream=False)
    assert (error.status_code, error.code) == (502, "upstream_error")
