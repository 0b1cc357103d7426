"""Fits a request to a target: the pair of formats, and what had to change for it."""

from collections.abc import Callable
from types import ModuleType
from typing import Final

import msgspec

from trunkline.chat import ChatRequest, TextRequest
from trunkline.errors import GatewayError
from trunkline.routing.table import Route, Target
from trunkline.wire import llama_cpp, openai_chat, openai_text, sgp
from trunkline.wire.body import read_fields
from trunkline.wire.mend import Stamp
from trunkline.wire.reply import Pair

RAW_MAX_TOKENS: Final = 100
"""SGP's own default for models that take a raw prompt; OpenAI's text API would stop at 16."""

Request = ChatRequest | TextRequest


class Fitted(msgspec.Struct, frozen=True):
    """A pair of formats for one attempt, and the changes to tell the client."""

    pair: Pair
    changes: tuple[str, ...]


class ClientFormat(msgspec.Struct, frozen=True):
    """One client dialect: how its body is read and how it pairs with a target."""

    name: str
    read: Callable[[bytes], Request]
    fit: Callable[[Request, Route, Target, Stamp], Fitted]


def _fit_completion(request: Request, route: Route, target: Target, stamp: Stamp) -> Fitted:
    if not isinstance(request, TextRequest):
        raise TypeError(request)
    columns = route.columns
    changes = ["stand_in"] if route.stand_in else []
    if request.images and (columns.images is False or columns.prompt_mode == "raw"):
        raise _no_images(request.model, "images")
    default = columns.default_max_tokens
    upstream: ModuleType = openai_chat
    if columns.prompt_mode == "raw":
        upstream = openai_text
        default = default or RAW_MAX_TOKENS
        if request.reasoning_effort is not None:
            changes.append("dropped:reasoning_effort")
    if request.max_tokens is None and default is not None:
        changes.append(f"defaulted:max_tokens={default}")
        request = msgspec.structs.replace(request, max_tokens=default)
    metadata: dict[str, object] = {"model": target.model, "provider": target.provider}
    if route.stand_in:
        metadata["stand_in"] = True
    pair = sgp.CompletionPair(request, target.model, upstream, stamp, metadata)
    return _finish(pair, target, changes)


def _fit_chat(*, done: bool) -> Callable[[Request, Route, Target, Stamp], Fitted]:
    def fit(request: Request, route: Route, target: Target, stamp: Stamp) -> Fitted:
        if not isinstance(request, ChatRequest):
            raise TypeError(request)
        changes = ["stand_in"] if route.stand_in else []
        if route.columns.images is False:
            _refuse_images(request)
        if route.columns.tools is False and b'"tools"' in request.body:
            request = _drop_tools(request, changes)
        pair = openai_chat.ChatPair(request, target.model, stamp, done=done)
        return _finish(pair, target, changes)

    return fit


def _fit_text(request: Request, route: Route, target: Target, stamp: Stamp) -> Fitted:
    if not isinstance(request, ChatRequest):
        raise TypeError(request)
    pair = openai_text.TextPair(request, target.model, stamp)
    return _finish(pair, target, ["stand_in"] if route.stand_in else [])


def _finish(pair: Pair, target: Target, changes: list[str]) -> Fitted:
    # An engine of ours speaks OpenAI's wire with llama.cpp's ways of cancelling and counting.
    return Fitted(llama_cpp.EnginePair(pair) if target.upstream else pair, tuple(changes))


def _refuse_images(request: ChatRequest) -> None:
    """Raises ``invalid_request`` for an image part: the target would fail on it."""
    if b"image_url" not in request.body:
        return
    for message in msgspec.json.decode(request.body)["messages"]:
        parts = message.get("content")
        if isinstance(parts, list) and any(
            isinstance(part, dict) and part.get("type") == "image_url" for part in parts
        ):
            raise _no_images(request.model, "messages")


def _no_images(model: str, param: str) -> GatewayError:
    return GatewayError("invalid_request", f"Model '{model}' takes no images.", param=param)


def _drop_tools(request: ChatRequest, changes: list[str]) -> ChatRequest:
    """The request without tools; raises ``invalid_request`` where one had to be called."""
    fields = read_fields(request.body)
    if "tools" not in fields:
        return request
    choice = bytes(fields.get("tool_choice", msgspec.Raw(b'"auto"')))
    if choice not in {b'"auto"', b'"none"'}:
        raise GatewayError(
            "invalid_request",
            f"Model '{request.model}' cannot call tools; leave tool_choice at auto or none.",
            param="tool_choice",
        )
    changes.append("dropped:tools")
    for name in ("tools", "tool_choice", "parallel_tool_calls"):
        fields.pop(name, None)
    return msgspec.structs.replace(request, body=msgspec.json.encode(fields))


SGP_COMPLETION: Final = ClientFormat("sgp.completion", sgp.read_request, _fit_completion)
SGP_CHAT: Final = ClientFormat("sgp.chat", openai_chat.read_request, _fit_chat(done=False))
OPENAI_CHAT: Final = ClientFormat("openai.chat", openai_chat.read_request, _fit_chat(done=True))
OPENAI_TEXT: Final = ClientFormat("openai.text", openai_text.read_request, _fit_text)
