import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocking import DIALECTS, PROMPT, write_request
from trunkline.errors import GatewayError
from trunkline.mock.asking import read_asked
from trunkline.mock.behaviour import Asked, Behaviour, Dialect
from trunkline.mock.score import write_score


def read(path: str, body: Any) -> Asked:
    asked = read_asked(1, "POST", path, {}, json.dumps(body).encode())
    assert asked is not None
    return asked


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_is_known_by_its_path(dialect: Dialect, *, stream: bool) -> None:
    path, body = write_request(dialect, "my-model", stream=stream)
    asked = read(path, body)
    assert (asked.dialect, asked.model, asked.stream) == (dialect, "my-model", stream)
    assert asked.operation == ("text" if dialect == "llm-engine" else "chat")
    assert (asked.prompt, asked.prompt_tokens) == (PROMPT, 4)


def test_a_path_may_have_anything_before_its_end() -> None:
    path = "/openai/deployments/gpt/chat/completions?api-version=2024-10-21"
    assert read(path, {"model": "gpt", "messages": []}).dialect == "openai"
    assert read("/engine/v2/chat/completions", {"model": "m"}).dialect == "llm-engine"
    assert read("/model/anthropic.claude%3A0/converse", {}).model == "anthropic.claude:0"
    assert read("/v1/completions", {"model": "m", "prompt": "a b"}).operation == "text"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/nowhere", b"{}"),
        ("GET", "/v1/chat/completions", b""),
        ("POST", "/v1/models", b"{}"),
    ],
)
def test_what_is_of_no_dialect_is_none(method: str, path: str, body: bytes) -> None:
    assert read_asked(1, method, path, {}, body) is None


@pytest.mark.parametrize("body", [b"[]", b"\xff", b"{", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(GatewayError, match="no JSON object"):
        read_asked(1, "POST", "/v1/chat/completions", {}, body)


NAMES = (
    "messages contents prompt system systemInstruction input tools toolConfig tool_choice model "
    "stream stream_options n max_tokens generationConfig inferenceConfig function name parameters"
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES.split()), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    body=st.dictionaries(st.sampled_from(NAMES.split()), ANYTHING, max_size=6),
    dialect=st.sampled_from(DIALECTS),
)
def test_whatever_is_in_a_body_is_answered(body: dict[str, Any], dialect: Dialect) -> None:
    path, _ = write_request(dialect)
    asked = read(path, body)
    assert write_score(asked, Behaviour(), 0, 0).status == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"max_completion_tokens": 5}),
        ("/v1/completions", {"max_tokens": 5}),
        ("/v1/messages", {"max_tokens": 5}),
        ("/v1beta/models/m:generateContent", {"generationConfig": {"maxOutputTokens": 5}}),
        ("/model/m/converse", {"inferenceConfig": {"maxTokens": 5}}),
        ("/v2/chat", {"max_tokens": 5}),
        ("/v1/llm/completions-sync", {"max_new_tokens": 5}),
    ],
)
def test_the_limit_is_read_in_every_dialect(path: str, body: Any) -> None:
    assert read(path, body).max_tokens == 5


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "weather", "parameters": SCHEMA}
OPENAI = [{"type": "function", "function": FUNCTION}]
GEMINI = [{"functionDeclarations": [FUNCTION]}]
BEDROCK = [{"toolSpec": {"name": "weather", "inputSchema": {"json": SCHEMA}}}]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"tools": OPENAI, "tool_choice": "required"}),
        (
            "/v1/chat/completions",
            {"tools": OPENAI, "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        ),
        (
            "/v1/messages",
            {
                "tools": [{"name": "weather", "input_schema": SCHEMA}],
                "tool_choice": {"type": "any"},
            },
        ),
        (
            "/v1beta/models/m:generateContent",
            {"tools": GEMINI, "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
        ),
        ("/model/m/converse", {"toolConfig": {"tools": BEDROCK, "toolChoice": {"any": {}}}}),
        (
            "/model/m/converse",
            {"toolConfig": {"tools": BEDROCK, "toolChoice": {"tool": {"name": "weather"}}}},
        ),
        ("/v2/chat", {"tools": OPENAI, "tool_choice": "REQUIRED"}),
    ],
)
def test_a_tool_that_must_be_called_is_found_in_every_dialect(path: str, body: Any) -> None:
    asked = read(path, body)
    assert asked.tool == "weather"
    assert asked.tools == {"weather": SCHEMA}


def test_a_tool_that_may_be_called_is_not_called() -> None:
    asked = read("/v1/chat/completions", {"tools": OPENAI, "tool_choice": "auto"})
    assert (asked.tool, [*asked.tools]) == ("", ["weather"])


SAID = {"role": "assistant", "content": "One"}
GO_ON: Any = {"continue_final_message": True, "add_generation_prompt": False}


@pytest.mark.parametrize(
    ("path", "last", "more", "said"),
    [
        ("/v1/messages", SAID, {}, "One"),
        ("/model/m/converse", {"role": "assistant", "content": [{"text": "One"}]}, {}, "One"),
        ("/v1/chat/completions", SAID, GO_ON, "One"),
        ("/v1/chat/completions", SAID | {"prefix": True}, {}, "One"),
        ("/v1/chat/completions", SAID, {}, ""),
        ("/v1/chat/completions", SAID, {"continue_final_message": True}, ""),
        ("/v2/chat", SAID, {}, ""),
    ],
)
def test_a_beginning_is_known_where_the_dialect_goes_on_with_it(
    path: str, last: Any, more: Any, said: str
) -> None:
    asked = read(path, {"messages": [{"role": "user", "content": "Hi"}, last], **more})
    assert (asked.said, asked.prompt) == (said, "Hi" if said else "One")
