"""Fits requests to targets that speak OpenAI's formats: forwarded, with the row's rewrites."""

from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import msgspec

from trunkline.chat import ChatRequest, TextRequest
from trunkline.errors import GatewayError
from trunkline.routing.ask import (
    Ask,
    Fitted,
    check_copies,
    choose_path,
    refuse_operation,
    require_operation,
)
from trunkline.routing.table import Columns, Operation, Row, Target
from trunkline.wire import (
    llama_cpp,
    openai_chat,
    openai_embedding,
    openai_text,
    sgp,
)
from trunkline.wire.body import read_fields
from trunkline.wire.change import Changes
from trunkline.wire.emulate_reply import EmulatedPair
from trunkline.wire.emulate_request import CHANGE, Emulation, emulate_tools
from trunkline.wire.image import may_hold
from trunkline.wire.reply import Pair
from trunkline.wire.rewrite import Dialect, Fields

_PATHS: Final = MappingProxyType(
    {
        "openai": {"chat": openai_chat.PATH, "text": openai_text.PATH},
        "llm-engine": {"chat": "/v2/chat/completions", "text": "/v2/completions"},
    }
)


TAPPED: Final = frozenset(_PATHS)
"""Wires that take and give OpenAI's chat format."""
_ONE: Final = msgspec.Raw(b"1")


@lru_cache(maxsize=256)
def _find_dialect(drops: tuple[str, ...], rewrites: tuple[Any, ...]) -> Dialect:
    return Dialect(drops, rewrites)


def _dialect(row: Row) -> Dialect:
    return _find_dialect(row.drops, row.rewrites)


def _path(target: Target, operation: Operation) -> str:
    row = target.row
    return choose_path(row, operation, _PATHS[row.wire][operation], target.model)


def tap_chat(
    request: ChatRequest, columns: Columns, target: Target, ask: Ask, *, done: bool
) -> Fitted:
    """A chat request for a target of the same format.

    Raises:
        GatewayError: ``invalid_request`` for what the target cannot do.
    """
    row = target.row
    if "chat" not in row.serves:
        raise refuse_operation("chat", request.model)
    dialect = _find_dialect(row.drops, row.rewrites)
    path = _path(target, "chat") if row.paths else _PATHS[row.wire]["chat"]
    if dialect.is_idle and columns.tools is not False:
        body = openai_chat.write_request(request, target.model)
        pair: Pair = openai_chat.ChatPair(request, body, ask.stamp, done, path)
        return Fitted((_finish(pair, target) if target.upstream else pair,))
    body, copies, emulation = _rewrite_chat(request, columns, target, dialect, ask.changes)
    pairs = []
    for _ in range(copies):
        pair = openai_chat.ChatPair(request, body, ask.stamp, done, path)
        if emulation is not None:
            pair = EmulatedPair(pair, emulation)
        pairs.append(_finish(pair, target) if target.upstream else pair)
    return Fitted(tuple(pairs))


def _rewrite_chat(
    request: ChatRequest, columns: Columns, target: Target, dialect: Dialect, changes: Changes
) -> tuple[bytes, int, Emulation | None]:
    """The body for a target or a model that takes less than the whole format.

    Returns:
        The body, how many times it is to be sent, and what its tools became.
    """
    fields: Fields | None = None
    emulation = None
    if columns.tools is False and _speaks_of_tools(request.body):
        fields = read_fields(request.body)
        if target.row.constrains:
            emulation = emulate_tools(fields)
            if emulation is not None:
                fields = emulation.fields
                changes.note(CHANGE)
        else:
            _drop_tools(request.model, fields, changes)
    copies = 1
    # What emulates tools writes fields that the client's body has not.
    if emulation is not None or dialect.touches(request.body):
        fields = read_fields(request.body) if fields is None else fields
        dialect.apply(fields, changes)
        if dialect.fans_out and "n" in fields:
            copies = check_copies(msgspec.json.decode(fields.pop("n")))
    if fields is None and (dialect.asks_usage or not request.stream):
        return openai_chat.write_request(request, target.model), copies, emulation
    if fields is None:
        fields = read_fields(request.body)
    asks_usage = dialect.asks_usage
    body = openai_chat.write_fields(fields, request, target.model, asks_usage=asks_usage)
    return body, copies, emulation


def tap_text(request: ChatRequest, target: Target, ask: Ask) -> Fitted:
    """A legacy text request for a target of the same format; raises ``invalid_request``."""
    require_operation(target.row, "text", request.model)
    if target.row.wire not in TAPPED:
        raise GatewayError(
            "invalid_request", f"Model '{request.model}' serves no text completions.", param="model"
        )
    dialect = _dialect(target.row)
    if dialect.asks_usage and not dialect.touches(request.body):
        body = openai_chat.write_request(request, target.model)
    else:
        fields = read_fields(request.body)
        dialect.apply(fields, ask.changes)
        if dialect.fans_out and msgspec.json.decode(fields.pop("n", _ONE)) > 1:
            raise GatewayError(
                "invalid_request", "'n' allows at most 1 for text at this target.", param="n"
            )
        body = openai_chat.write_fields(
            fields, request, target.model, asks_usage=dialect.asks_usage
        )
    pair = openai_text.TextPair(request, body, ask.stamp, _path(target, "text"))
    return Fitted((_finish(pair, target),))


def tap_embedding(request: ChatRequest, target: Target, ask: Ask) -> Fitted:
    """An embedding request for a target of the same format; raises ``invalid_request``."""
    require_operation(target.row, "embeddings", request.model)
    if target.row.wire != "openai":
        raise GatewayError(
            "invalid_request", f"Model '{request.model}' serves no embeddings.", param="model"
        )
    body = _rewrite(openai_chat.write_request(request, target.model), target.row, ask.changes)
    path = choose_path(target.row, "embeddings", openai_embedding.PATH, target.model)
    return Fitted((openai_embedding.EmbeddingPair(body, ask.stamp, path),))


def tap_completion(
    request: TextRequest, target: Target, ask: Ask, metadata: dict[str, Any], *, raw: bool
) -> Fitted:
    """A native completion for a target that speaks OpenAI's text (``raw``) or chat format."""
    operation: Operation = "text" if raw else "chat"
    require_operation(target.row, operation, request.model)
    upstream = openai_text if raw else openai_chat
    written = upstream.write_text_request(request, target.model)
    dialect = _dialect(target.row)
    body = _rewrite(written, target.row, ask.changes)
    if request.stream and not dialect.asks_usage:
        fields = read_fields(body)
        fields.pop("stream_options", None)
        body = msgspec.json.encode(fields)
    path = _path(target, operation)
    pair = sgp.CompletionPair(body, path, upstream, ask.stamp, metadata)
    return Fitted((_finish(pair, target),))


def _speaks_of_tools(body: bytes) -> bool:
    words = (b'"tools"', b'"functions"', b'"tool_calls"', b'"function_call"')
    return any(may_hold(body, word) for word in words)


def _rewrite(body: bytes, row: Row, changes: Changes) -> bytes:
    dialect = _dialect(row)
    if not dialect.touches(body):
        return body
    fields = read_fields(body)
    dialect.apply(fields, changes)
    return msgspec.json.encode(fields)


def _finish(pair: Pair, target: Target) -> Pair:
    # An engine of ours speaks OpenAI's wire with llama.cpp's ways of cancelling and counting.
    return llama_cpp.EnginePair(pair) if target.upstream else pair


def _drop_tools(model: str, fields: Fields, changes: Changes) -> None:
    """Take the tools out; raises ``invalid_request`` where one had to be called."""
    for words, choice in (("tools", "tool_choice"), ("functions", "function_call")):
        if words not in fields:
            continue
        if bytes(fields.get(choice, msgspec.Raw(b'"auto"'))) not in {b'"auto"', b'"none"'}:
            raise GatewayError(
                "invalid_request",
                f"Model '{model}' cannot call tools; leave {choice} at auto or none.",
                param=choice,
            )
        changes.drop(words)
        for name in (words, choice, "parallel_tool_calls"):
            fields.pop(name, None)
