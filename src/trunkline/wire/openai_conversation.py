"""Reads an OpenAI chat request, or a completion's prompt, into a conversation to translate."""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from trunkline.chat import (
    ChatRequest,
    Conversation,
    Json,
    Media,
    OutputFormat,
    Part,
    Reasoning,
    Text,
    TextRequest,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
)
from trunkline.errors import GatewayError
from trunkline.wire.body import read_body
from trunkline.wire.change import Changes
from trunkline.wire.openai_message import (
    INSIDE,
    AssistantMessage,
    AudioPart,
    ChatInside,
    FunctionMessage,
    FunctionText,
    ImagePart,
    JsonSchema,
    NamedTool,
    PastCall,
    TextPart,
    ToolMessage,
    UserMessage,
)

_DATA_URL: Final = re.compile(
    r"data:([\w.+/-]+)(?:;[\w=.+-]+)*;base64,([A-Za-z0-9+/=\s_-]*)", re.ASCII
)
_TAKEN: Final = frozenset(ChatInside.__struct_fields__) | {
    "max_completion_tokens",
    "stream",
    "stream_options",
}
_OBJECT = msgspec.json.Decoder(dict[str, Any])


def read_conversation(request: ChatRequest, changes: Changes | None = None) -> Conversation:
    """The request as plain values; what a conversation has no place for is told in ``changes``.

    Raises:
        GatewayError: ``invalid_request`` that names the path of what cannot be understood.
    """
    try:
        inside: ChatInside = read_body(INSIDE, request.body)
    except GatewayError as error:
        raise GatewayError("invalid_request", error.message, param=error.param) from None
    _tell_drops(inside, changes or Changes())
    system, turns = _read_messages(inside)
    if not turns:
        raise GatewayError(
            "invalid_request", "'messages' needs one of role user or assistant.", param="messages"
        )
    fields = _read_fields(request.body)
    parameters = {
        name: value for name, value in fields.items() if value is not None and name not in _TAKEN
    }
    limit = fields.get("max_completion_tokens")
    if limit is not None:
        parameters["max_tokens"] = limit
    if inside.stop:
        parameters["stop"] = [inside.stop] if isinstance(inside.stop, str) else inside.stop
    tools = _read_tools(inside)
    return Conversation(
        request.model,
        system,
        turns,
        tools=tools,
        tool_choice=_read_choice(inside, tools),
        parallel_tool_calls=inside.parallel_tool_calls,
        output=_read_output(inside),
        parameters=parameters,
        n=inside.n or 1,
        legacy=bool(inside.functions) and not inside.tools,
        stream=request.stream,
        include_usage=request.include_usage,
    )


def convert_prompt(request: TextRequest) -> Conversation:
    """A completion's prompt and images as one user turn."""
    parts: list[Part] = [Text(request.prompt)]
    for at, image in enumerate(request.images):
        detail = "" if image.detail == "auto" else image.detail
        parts.append(_read_image(image.image_url, detail, None, f"images[{at}].image_url"))
    parameters: Json = {}
    if request.stop:
        parameters["stop"] = list(request.stop)
    for name in (
        "temperature",
        "max_tokens",
        "top_p",
        "top_k",
        "frequency_penalty",
        "presence_penalty",
        "reasoning_effort",
    ):
        value = getattr(request, name)
        if value is not None:
            parameters[name] = value
    turns = (Turn("user", tuple(parts)),)
    return Conversation(
        request.model, (), turns, parameters=parameters, stream=request.stream, include_usage=True
    )


def _read_fields(body: bytes) -> dict[str, Any]:
    """Every field; what ``read_body`` passed over may still hold a number beyond all ranges."""
    try:
        return _OBJECT.decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise GatewayError("invalid_request", f"body: {error}") from None


def _tell_drops(inside: ChatInside, changes: Changes) -> None:
    for message in inside.messages:
        if isinstance(message, (ToolMessage, FunctionMessage)):
            continue
        if message.name is not None:
            changes.drop("messages.name")
        if isinstance(message, AssistantMessage) and message.audio is not None:
            changes.drop("messages.audio")


def _read_messages(inside: ChatInside) -> tuple[tuple[Text, ...], tuple[Turn, ...]]:
    system: list[Text] = []
    turns: list[tuple[Any, list[Part]]] = []
    calls = _Calls()
    for at, message in enumerate(inside.messages):
        where = f"messages[{at}]"
        if isinstance(message, AssistantMessage):
            role, parts = "assistant", list(_read_said(message, calls, where))
        elif isinstance(message, UserMessage):
            role, parts = "user", _read_parts(message.content, f"{where}.content")
        elif isinstance(message, ToolMessage):
            role, parts = "user", [_read_result(message, calls, where)]
        elif isinstance(message, FunctionMessage):
            role, parts = "user", [_answer_function(message, calls, where)]
        else:
            system += _read_texts(message.content)
            continue
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(parts)
        elif parts:
            turns.append((role, parts))
    return tuple(system), tuple(Turn(role, tuple(parts)) for role, parts in turns)


def _read_texts(content: str | list[TextPart]) -> list[Text]:
    if isinstance(content, str):
        return [Text(content)] if content else []
    return [Text(part.text, part.cache_control) for part in content]


def _read_parts(content: str | list[Any], where: str) -> list[Part]:
    if isinstance(content, str):
        return [Text(content)]
    return [_read_part(part, f"{where}[{at}]") for at, part in enumerate(content)]


def _read_part(part: Any, where: str) -> Part:
    if isinstance(part, TextPart):
        return Text(part.text, part.cache_control)
    if isinstance(part, ImagePart):
        detail = part.image_url.detail
        url = part.image_url.url
        shown = "" if detail in (None, "auto") else str(detail)
        return _read_image(url, shown, part.cache_control, f"{where}.image_url.url")
    if isinstance(part, AudioPart):
        sound = part.input_audio
        return Media("audio", media_type=f"audio/{sound.format}", data=sound.data)
    file = part.file
    found = _DATA_URL.fullmatch(file.file_data or "")
    if found is None:
        raise GatewayError(
            "invalid_request",
            f"{where}.file.file_data: expected a data URL in base64; this target cannot read "
            "files by file_id.",
            param="messages",
        )
    return Media(
        "document",
        media_type=found[1],
        data=found[2],
        name=file.filename or "",
        cache=part.cache_control,
    )


def _read_image(url: str, detail: str, cache: Json | None, where: str) -> Media:
    if url.startswith(("http://", "https://")):
        return Media("image", url=url, detail=detail, cache=cache)
    found = _DATA_URL.fullmatch(url)
    if found is None:
        raise GatewayError(
            "invalid_request",
            f"{where}: expected an http(s) address or a data URL in base64.",
            param=where.partition("[")[0],
        )
    return Media("image", media_type=found[1], data=found[2], detail=detail, cache=cache)


class _Calls:
    """The calls that the assistant has made so far, for their answers to find them.

    Legacy function calls have no id: one is made up, and an answer is to the last of its name.
    """

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.last: dict[str, str] = {}

    def add_function(self, name: str) -> str:
        first = f"call_{name}"
        made = first if first not in self.names else f"{first}_{len(self.names) + 1}"
        self.names[made] = name
        self.last[name] = made
        return made


def _read_said(message: AssistantMessage, calls: _Calls, where: str) -> Iterable[Part]:
    """An assistant's parts in the order that vendors want: thoughts, words, calls."""
    for block in message.thinking_blocks or ():
        yield Reasoning(block.thinking, block.signature, block.data)
    if message.reasoning_content and not message.thinking_blocks:
        yield Reasoning(message.reasoning_content)
    content = message.content
    if isinstance(content, str):
        if content:
            yield Text(content)
    else:
        for part in content or ():
            yield (
                Text(part.text, part.cache_control)
                if isinstance(part, TextPart)
                else Text(part.refusal)
            )
    if message.refusal:
        yield Text(message.refusal)
    for at, call in enumerate(message.tool_calls or ()):
        calls.names[call.id] = call.function.name
        arguments = _read_arguments(call.function, f"{where}.tool_calls[{at}].function")
        yield ToolUse(call.id, call.function.name, arguments, _read_signature(call))
    called = message.function_call
    if called is not None:
        arguments = _read_arguments(called, f"{where}.function_call")
        yield ToolUse(calls.add_function(called.name), called.name, arguments)


def _read_arguments(function: FunctionText, where: str) -> str:
    """JSON text of an object, as it came; nothing is an empty object."""
    arguments = function.arguments if function.arguments.strip() else "{}"
    try:
        _OBJECT.decode(arguments)
    except (msgspec.MsgspecError, RecursionError):
        raise GatewayError(
            "invalid_request",
            f"{where}.arguments: expected the JSON text of an object.",
            param="messages",
        ) from None
    return arguments


def _read_signature(call: PastCall) -> str:
    google = (call.extra_content or {}).get("google")
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) else ""


def _read_result(message: ToolMessage, calls: _Calls, where: str) -> ToolResult:
    name = calls.names.get(message.tool_call_id)
    if name is None:
        raise GatewayError(
            "invalid_request",
            f"{where}.tool_call_id: no earlier assistant message has a tool call of this id.",
            param="messages",
        )
    parts: Any = tuple(_read_parts(message.content, f"{where}.content"))
    return ToolResult(message.tool_call_id, name, parts, message.cache_control)


def _answer_function(message: FunctionMessage, calls: _Calls, where: str) -> ToolResult:
    made = calls.last.get(message.name)
    if made is None:
        raise GatewayError(
            "invalid_request",
            f"{where}.name: no earlier assistant message has called this function.",
            param="messages",
        )
    return ToolResult(made, message.name, (Text(message.content or ""),))


def _read_tools(inside: ChatInside) -> tuple[Tool, ...]:
    if inside.tools:
        offered = [(tool.function, tool.cache_control) for tool in inside.tools]
    else:
        offered = [(function, None) for function in inside.functions or ()]
    return tuple(
        Tool(each.name, each.description or "", each.parameters, each.strict, cache)
        for each, cache in offered
    )


def _read_choice(inside: ChatInside, tools: tuple[Tool, ...]) -> ToolChoice | None:
    """OpenAI refuses a choice among tools that are not offered, too."""
    legacy = bool(inside.functions) and not inside.tools
    choice = inside.function_call if legacy else inside.tool_choice
    if choice is None or (not tools and choice in ("auto", "none")):
        return None
    if isinstance(choice, str) and tools:
        return ToolChoice(choice)
    named = choice.function if isinstance(choice, NamedTool) else choice
    if not isinstance(named, str) and any(tool.name == named.name for tool in tools):
        return ToolChoice("named", named.name)
    param = "function_call" if legacy else "tool_choice"
    raise GatewayError("invalid_request", f"{param}: no such tool is offered.", param=param)


def _read_output(inside: ChatInside) -> OutputFormat | None:
    wanted = inside.response_format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return OutputFormat()
    given = wanted.json_schema
    if given is None or given.schema is None:
        raise GatewayError(
            "invalid_request",
            "response_format.json_schema.schema: Field required",
            param="response_format",
        )
    return _output(given, given.schema)


def _output(given: JsonSchema, schema: Json) -> OutputFormat:
    return OutputFormat(schema, given.name, given.description or "", given.strict)
