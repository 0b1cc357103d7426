from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import GatewayError
from trunkline.events import Event, Finish, ReasoningDelta, ReasoningSeal, TextDelta, Usage
from trunkline.wire.gemini_reply import GeminiReader, read_whole
from wire.gemini_sample import CASES, STREAMS, USAGE, fold, open_pair, play_stream, read_answer
from wire.sample import (
    any_json,
    fail,
    may_fail,
    patch,
    read_case,
    some_examples,
    split,
    write_frames,
)
from wire.strict import read_chat, read_chat_stream


def list_events(reader: GeminiReader, *pieces: bytes) -> list[Event]:
    events = [event for piece in pieces for event in reader.feed(piece)]
    return [*events, *reader.finish()]


@pytest.mark.parametrize("name", CASES)
def test_a_whole_answer_is_what_was_recorded_and_passes_every_client(name: str) -> None:
    expected = CASES[name]
    body = open_pair(stream=False).read_answer(read_case(f"gemini/{name}.json")).body
    answer = msgspec.json.decode(body)
    (choice,) = answer["choices"]
    message = choice["message"]
    assert message["content"] == expected["content"]
    assert choice["finish_reason"] == expected.get("finish_reason", "stop")
    shown = {key: value for key, value in answer["usage"].items() if value is not None}
    counts = expected.get("usage", USAGE)
    assert {key: _without_nulls(value) for key, value in shown.items()} == counts
    for key in ("reasoning_content", "thinking_blocks"):
        assert message.get(key) == expected.get(key)
    calls = [call["function"]["name"] for call in message.get("tool_calls", [])]
    assert calls == expected.get("tool_calls", [])
    cited = [note["url_citation"] for note in message.get("annotations", [])]
    assert [
        (note["url"], note["title"], note["start_index"], note["end_index"]) for note in cited
    ] == expected.get("annotations", [])
    for seen in read_chat(body).values():
        assert seen.choices[0].message.content == expected["content"]


def _without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: inner for key, inner in value.items() if inner is not None}


@pytest.mark.parametrize("name", CASES)
def test_a_stream_folds_to_the_same_answer_and_passes_every_client(name: str) -> None:
    stream = play_stream(STREAMS[name])
    whole = read_answer(read_case(f"gemini/{name}.json"))
    (choice,) = whole["choices"]
    folded = fold(stream)
    assert folded["usage"] == (whole["usage"] if name != "gateway" else None)
    assert folded["finish_reason"] == choice["finish_reason"]
    assert folded["message"] == choice["message"]
    for chunks in read_chat_stream(stream).values():
        assert chunks


def test_calls_keep_their_ids_arguments_and_signatures() -> None:
    calls = read_answer(read_case("gemini/tools.json"))["choices"][0]["message"]["tool_calls"]
    oslo, rome, time = calls
    assert oslo == {
        "id": "fc-oslo",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city":"Oslo","days":1.0}'},
        "extra_content": {"google": {"thought_signature": "c2lnbmVk"}},
    }
    assert rome["function"]["arguments"] == '{"city":"Rome","near":["Ostia",null]}'
    assert time["function"]["arguments"] == "{}"
    assert len({oslo["id"], rome["id"], time["id"]}) == 3
    assert all(call["id"].startswith("call_") and len(call["id"]) == 29 for call in (rome, time))


def test_made_up_ids_differ_between_replies_and_stay_the_same_in_one() -> None:
    body = msgspec.json.decode(read_case("gemini/tools.json"))
    again, other = (
        read_answer(msgspec.json.encode({**body, "responseId": name}))["choices"][0]["message"]
        for name in ("resp-1", "resp-2")
    )
    first = read_answer(read_case("gemini/tools.json"))["choices"][0]["message"]
    assert again == first
    assert other["tool_calls"][1]["id"] != first["tool_calls"][1]["id"]
    assert other["tool_calls"][0]["id"] == "fc-oslo"


@pytest.mark.parametrize("name", CASES)
def test_any_chunking_gives_the_same_bytes(name: str) -> None:
    stream = STREAMS[name]
    whole = play_stream(stream)
    assert play_stream(*(stream[at : at + 1] for at in range(len(stream)))) == whole
    for place in range(0, len(stream), 7):
        assert play_stream(*split(stream, place)) == whole


@some_examples
@given(st.sampled_from(sorted(CASES)), st.data())
def test_any_pieces_give_the_same_bytes(name: str, data: st.DataObject) -> None:
    stream = STREAMS[name]
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    assert play_stream(*split(stream, *places)) == play_stream(stream)


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"structured", "recited"}))
def test_a_cut_anywhere_is_an_error(name: str) -> None:
    stream = STREAMS[name]
    end = len(stream.rstrip(b"\r\n")) - 1
    for place in range(0, end, 3):
        _, error = fail(open_pair().open_stream(), stream[:place])
        assert (error.code, error.kind.retryable) == ("upstream_error", True)


def test_a_model_that_says_stop_in_every_frame_is_believed_at_the_end() -> None:
    events = list_events(GeminiReader(), STREAMS["structured"])
    assert [event for event in events if isinstance(event, Finish)] == [Finish("stop", "STOP")]
    assert events[-1] == Finish("stop", "STOP")


def test_the_last_usage_counts_and_frames_without_counts_say_nothing() -> None:
    events = list_events(GeminiReader(), STREAMS["text"])
    usages = [event for event in events if isinstance(event, Usage)]
    assert [(usage.prompt_tokens, usage.completion_tokens) for usage in usages] == [(8, 0), (8, 5)]


def test_a_seal_stands_where_its_part_stood() -> None:
    events = list_events(GeminiReader(), STREAMS["thinking"])
    kinds = [type(event) for event in events[1:6]]
    assert kinds == [ReasoningDelta, ReasoningDelta, TextDelta, TextDelta, ReasoningSeal]


def candidate(*parts: Any, finish: Any = "STOP", **more: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": list(parts)}
    return {"candidates": [{"content": content, "finishReason": finish, **more}]}


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("CONTINUATION", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("LANGUAGE", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("IMAGE_PROHIBITED_CONTENT", "content_filter"),
        ("IMAGE_RECITATION", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("ESCALATION", "content_filter"),
        ("A_WORD_OF_TOMORROW", "stop"),
    ],
)
def test_why_an_answer_ended(word: str, reason: str) -> None:
    body = msgspec.json.encode(candidate({"text": "a"}, finish=word))
    assert read_whole(body)[-1] == Finish(reason, word)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "word",
    [
        "OTHER",
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
        "NO_IMAGE",
        "IMAGE_OTHER",
        "PUP_LIMITED_DISABLED",
        "FINISH_REASON_UNSPECIFIED",
        None,
        "",
    ],
)
def test_an_answer_that_did_not_end_is_no_answer(word: str | None) -> None:
    body = candidate({"text": "a"}, finish=word)
    with pytest.raises(GatewayError) as caught:
        read_answer(msgspec.json.encode(body))
    assert caught.value.code == "upstream_error"
    _, error = fail(open_pair().open_stream(), write_frames(body))
    assert error.code == "upstream_error"


@pytest.mark.parametrize("reason", ["SAFETY", "OTHER", "BLOCKLIST", "JAILBREAK"])
def test_a_refused_prompt_is_an_answer_without_words(reason: str) -> None:
    body = msgspec.json.encode({"candidates": [], "promptFeedback": {"blockReason": reason}})
    assert read_whole(body)[-1] == Finish("content_filter", reason)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b"<html>",
        b"\xff",
        b'{"candidates": {}}',
        b'{"candidates": [{"content": {"parts": [{"text": 5}]}, "finishReason": "STOP"}]}',
        b'{"candidates": [{"content": {"parts": [{"functionCall": {"args": {}}}]}}]}',
        b'{"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": [1]}}]}}]}',
        b'{"candidates": [{"finishReason": 5}]}',
        b'{"error": {"code": 500, "status": "INTERNAL", "message": "secret"}}',
        b'{"promptFeedback": {}, "candidates": []}',
    ],
)
def test_what_is_no_answer_is_a_failure(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        read_answer(body)
    assert caught.value.code == "upstream_error"
    assert "secret" not in caught.value.message


def test_parts_of_other_sorts_and_other_alternatives_are_passed_over() -> None:
    body = candidate(
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
        {"tomorrow": 1, "text": None},
        {"text": "a", "thought": None, "thoughtSignature": None, "functionCall": None},
        urlContextMetadata={},
        logprobsResult={"chosenCandidates": []},
    )
    body["candidates"].append({"index": 1, "content": {"parts": [{"text": "b"}]}})
    answer = read_answer(msgspec.json.encode(body))
    assert [choice["message"]["content"] for choice in answer["choices"]] == ["a"]


def test_sources_without_a_place_are_cited_at_the_start() -> None:
    body = candidate(
        {"text": "a"},
        groundingMetadata={"groundingChunks": [{"maps": {"uri": "https://m.example"}}, {}]},
    )
    answer = read_answer(msgspec.json.encode(body))
    (note,) = answer["choices"][0]["message"]["annotations"]
    assert note["url_citation"] == {
        "url": "https://m.example",
        "title": "",
        "start_index": 0,
        "end_index": 0,
    }


@pytest.mark.parametrize(
    ("error", "code", "retry_after_s"),
    [
        ({"code": 503, "status": "UNAVAILABLE", "message": "secret"}, "overloaded", None),
        ({"code": 500, "status": "INTERNAL"}, "upstream_error", None),
        ({"code": 504, "status": "DEADLINE_EXCEEDED"}, "upstream_timeout", None),
        ({"code": "429", "type": "None", "message": "secret"}, "rate_limit_exceeded", None),
        ({"status": ["UNAVAILABLE"], "code": {}}, "upstream_error", None),
        ("secret", "upstream_error", None),
        (
            {
                "code": 429,
                "status": "RESOURCE_EXHAUSTED",
                "details": [
                    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
                ],
            },
            "rate_limit_exceeded",
            34.5,
        ),
    ],
)
def test_a_failure_inside_a_stream_is_told_by_its_code(
    error: Any, code: str, retry_after_s: float | None
) -> None:
    before = write_frames(candidate({"text": "a"}, finish=None))
    bare = msgspec.json.format(msgspec.json.encode({"error": error}))
    tails = [write_frames({"error": error})]
    if isinstance(error, dict):
        tails += [bare, b"[" + bare + b"\n]\n", bare.replace(b"\n", b"\r\n")]
    for tail in tails:
        for pieces in ([before + tail], [before, *split(tail, 1, 9)]):
            out, failure = fail(open_pair().open_stream(), *pieces)
            assert (failure.code, failure.retry_after_s) == (code, retry_after_s)
            assert b'"a"' in out
            assert "secret" not in failure.message


@some_examples
@given(
    st.sampled_from(["text", "tools", "grounded", "recited", "thinking"]),
    st.sampled_from(
        [
            "candidates",
            "candidates.0.content",
            "candidates.0.content.parts.0",
            "candidates.0.content.parts.0.text",
            "candidates.0.finishReason",
            "candidates.0.groundingMetadata",
            "candidates.0.citationMetadata",
            "usageMetadata",
            "usageMetadata.promptTokenCount",
            "promptFeedback",
            "responseId",
            "error",
        ]
    ),
    any_json | st.just(...),
)
def test_a_changed_answer_is_read_or_refused(name: str, path: str, new: Any) -> None:
    body = patch(msgspec.json.decode(read_case(f"gemini/{name}.json")), path, new)
    with may_fail("upstream_error"):
        assert read_answer(msgspec.json.encode(body))["choices"][0]["finish_reason"]
    with may_fail("upstream_error"):
        assert play_stream(write_frames(body))
