"""What a client asks for: chat and text requests as plain frozen values."""

import msgspec


class ImageRef(msgspec.Struct, frozen=True, gc=False):
    """An image of a completion request, by address or data URL, handed on unfetched."""

    image_url: str
    detail: str = "auto"


class ChatRequest(msgspec.Struct, frozen=True, gc=False):
    """A chat or legacy text request in OpenAI's shape.

    ``body`` is the client's JSON, checked, so that a target of the same wire gets what the
    client wrote, known to us or not.
    """

    model: str
    body: bytes
    stream: bool
    include_usage: bool


class TextRequest(msgspec.Struct, frozen=True, gc=False):
    """An SGP completion request with SGP's defaults filled in."""

    model: str
    prompt: str
    stream: bool
    temperature: float
    account_id: str | None = None
    images: tuple[ImageRef, ...] = ()
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    reasoning_effort: str | None = None
