"""What tests of a chat request's insides share: how messages are written and read."""

from typing import Any

import msgspec
import pytest

from trunkline.chat import Conversation, Media
from trunkline.errors import GatewayError
from trunkline.wire.openai_chat import read_request
from trunkline.wire.openai_conversation import read_conversation

HI = {"role": "user", "content": "Hi"}
PNG = "data:image/png;base64,iVBORw0KGgo="
WEATHER = {"type": "function", "function": {"name": "weather"}}


def read(*messages: Any, **fields: Any) -> Conversation:
    """A request of these messages, or of a greeting, with further fields."""
    body = {"model": "m", "messages": messages or [HI], **fields}
    return read_conversation(read_request(msgspec.json.encode(body)))


def refuse(*messages: Any, **fields: Any) -> GatewayError:
    """Why such a request is not understood."""
    with pytest.raises(GatewayError) as caught:
        read(*messages, **fields)
    assert (caught.value.code, caught.value.status) == ("invalid_request", 400)
    return caught.value


def write_call(name: str = "weather", of: str = "c1", arguments: str = "{}", **more: Any) -> Any:
    """A call, and below the message that makes calls, and the answer to one."""
    function = {"name": name, "arguments": arguments}
    return {"id": of, "type": "function", "function": function, **more}


def make_calls(*made: Any, **more: Any) -> Any:
    return {"role": "assistant", "content": None, "tool_calls": list(made), **more}


def answer_call(to: str = "c1", content: Any = "mild", **more: Any) -> Any:
    return {"role": "tool", "tool_call_id": to, "content": content, **more}


def write_image(url: str = PNG, **more: Any) -> Any:
    """An image as a part of a message, and below as it is read."""
    return {"type": "image_url", "image_url": {"url": url, **more}}


def make_image(detail: str = "", cache: Any = None) -> Media:
    data = PNG.partition(",")[2]
    return Media("image", media_type="image/png", data=data, detail=detail, cache=cache)
