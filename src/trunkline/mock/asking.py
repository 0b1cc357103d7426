"""Reads a request: which dialect it speaks, by its path, and what it asks for."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec

from trunkline.errors import GatewayError
from trunkline.mock.behaviour import Asked, Dialect, Operation
from trunkline.mock.voice import Json

_DECODER: Final = msgspec.json.Decoder(dict[str, Any])
_ENDS: Final[tuple[tuple[str, Dialect, Operation], ...]] = (
    ("/v2/chat/completions", "llm-engine", "chat"),
    ("/v2/completions", "llm-engine", "text"),
    ("/v1/llm/completions-sync", "llm-engine", "text"),
    ("/v1/llm/completions-stream", "llm-engine", "text"),
    ("/chat/completions", "openai", "chat"),
    ("/completions", "openai", "text"),
    ("/embeddings", "openai", "embeddings"),
    ("/models", "openai", "models"),
    ("/messages", "anthropic", "chat"),
    (":generateContent", "gemini", "chat"),
    (":streamGenerateContent", "gemini", "chat"),
    ("/converse", "bedrock", "chat"),
    ("/converse-stream", "bedrock", "chat"),
    ("/chat", "cohere", "chat"),
)
"""The first end that fits a path tells; what stands before it may be anything."""
_STREAM_ENDS: Final = ("-stream", ":streamGenerateContent")
_LIMITS: Final = ("max_completion_tokens", "max_tokens", "max_new_tokens")


def read_asked(
    number: int, method: str, target: str, headers: Mapping[str, str], body: bytes
) -> Asked | None:
    """What a request asks for; None for a path of no dialect.

    What of a body has another shape than its dialect's counts as absent.

    Raises:
        GatewayError: ``invalid_request`` for a body that is no JSON object.
    """
    path, _, query = target.partition("?")
    found = next((row for row in _ENDS if path.endswith(row[0])), None)
    if found is None or (method == "GET") != (found[2] == "models"):
        return None
    try:
        value = _DECODER.decode(body) if body else {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise GatewayError("invalid_request", "The body is no JSON object.") from None
    _, dialect, operation = found
    tools, forced = _read_tools(value)
    inputs = value.get("input")
    texts = [str(each) for each in inputs] if isinstance(inputs, list) else [str(inputs or "")]
    prompts = _list_prompts(value) or texts
    said = _read_said(dialect, value)
    asking = prompts[:-1] if said else prompts
    return Asked(
        number=number,
        dialect=dialect,
        operation=operation,
        path=path,
        model=_read_model(path, query, value),
        stream=operation in ("chat", "text") and _is_stream(path, value),
        prompt=asking[-1] if asking else "",
        said=said,
        prompt_tokens=sum(len(text.split()) for text in prompts),
        max_tokens=_read_limit(value),
        n=_read_count(value),
        tool=forced,
        tools=tools,
        include_usage=bool(_read_object(value, "stream_options").get("include_usage")),
        inputs=tuple(texts),
        headers=dict(headers),
        body=value,
    )


def _is_stream(path: str, value: Json) -> bool:
    return value.get("stream") is True or path.endswith(_STREAM_ENDS)


def _read_model(path: str, query: str, value: Json) -> str:
    """The name in the body, in LLM Engine's query, or in Gemini's and Bedrock's paths."""
    if isinstance(value.get("model"), str):
        return str(value["model"])
    if named := parse_qs(query).get("model_endpoint_name"):
        return named[0]
    parts = unquote(path).split("/")
    if ":" in parts[-1]:
        return parts[-1].rpartition(":")[0]
    return parts[-2] if parts[-1].startswith("converse") else ""


def _read_limit(value: Json) -> int | None:
    inner = _read_object(value, "generationConfig").get("maxOutputTokens")
    inner = inner or _read_object(value, "inferenceConfig").get("maxTokens")
    limits = [inner, *(value.get(name) for name in _LIMITS)]
    return next((max(limit, 0) for limit in limits if isinstance(limit, int)), None)


def _read_count(value: Json) -> int:
    n = value.get("n")
    return min(max(n, 1), 128) if isinstance(n, int) else 1


def _list_prompts(value: Json) -> list[str]:
    """The texts of the conversation in order, whatever the dialect calls them."""
    turns = value.get("messages") or value.get("contents") or value.get("prompt") or []
    if not isinstance(turns, list):
        turns = [turns]
    system = value.get("system") or value.get("systemInstruction")
    before = [_read_text(system)] if system else []
    return before + [_read_text(turn) for turn in turns]


def _read_said(dialect: Dialect, value: Json) -> str:
    """The text of a last message of the assistant, where the dialect goes on with it.

    Anthropic's and Bedrock's do by themselves; OpenAI's only at servers that know a word for it
    (vLLM's and SGLang's ``continue_final_message``, DeepSeek's ``prefix``; read 2026-11-22).
    """
    messages = _list_objects(value.get("messages"))
    if not messages or messages[-1].get("role") != "assistant":
        return ""
    last = messages[-1]
    told = value.get("continue_final_message") is True
    told = (told and value.get("add_generation_prompt") is False) or last.get("prefix") is True
    return _read_text(last) if told or dialect in ("anthropic", "bedrock") else ""


def _read_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(filter(None, map(_read_text, value)))
    if isinstance(value, dict):
        for name in ("content", "parts", "text"):
            if value.get(name):
                return _read_text(value[name])
    return ""


def _read_tools(value: Json) -> tuple[dict[str, Json], str]:
    """Schemas of the tools by their names, and the one that must be called, "" for none."""
    setting = _read_object(value, "toolConfig")
    offered: list[Json] = []
    for tool in _list_objects(value.get("tools") or setting.get("tools")):
        function = tool.get("function") or tool.get("toolSpec") or tool
        offered += _list_objects(tool.get("functionDeclarations") or [function])
    tools = {str(each.get("name", "")): _read_schema(each) for each in offered}
    return tools, _read_forced(value.get("tool_choice"), setting, next(iter(tools), ""))


def _read_schema(tool: Json) -> Json:
    for name in ("parameters", "input_schema", "parametersJsonSchema", "inputSchema"):
        schema = _read_object(tool, name)
        if schema:
            return _read_object(schema, "json") or schema
    return {}


def _read_forced(choice: Any, setting: Json, first: str) -> str:
    if isinstance(choice, str):
        return first if choice.lower() == "required" else ""
    if isinstance(choice, dict):
        named = (_read_object(choice, "function") or choice).get("name")
        return str(named or (first if choice.get("type") == "any" else ""))
    calling = _read_object(setting, "functionCallingConfig")
    if calling.get("mode") == "ANY":
        names = calling.get("allowedFunctionNames")
        return str(names[0]) if isinstance(names, list) and names else first
    pick = _read_object(setting, "toolChoice")
    return str(_read_object(pick, "tool").get("name") or (first if "any" in pick else ""))


def _read_object(value: Json, name: str) -> Json:
    inner = value.get(name)
    return inner if isinstance(inner, dict) else {}


def _list_objects(value: Any) -> list[Json]:
    items = value if isinstance(value, list) else []
    return [item for item in items if isinstance(item, dict)]
