"""The images of a request: where they stand, what they are, and their bytes for their addresses."""

import binascii
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from trunkline.chat import ChatRequest, ImageRef, TextRequest

_HTTP: Final = ("http://", "https://")
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_PADDINGS: Final = (b"", b"=", b"==")
_HEAD_CHARACTERS: Final = 1 << 18
"""Most headers stand in so much of a file; only a JPEG may have long notes before its own."""
_PNG: Final = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_BMP_HEADERS: Final = (40, 56, 108, 124)
_JPEG_FRAMES: Final = (0xC0, 0xC1, 0xC2)
_JPEG_TABLES: Final = frozenset({0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})


def may_hold(body: bytes, word: bytes) -> bool:
    r"""Whether JSON may hold a key or a word of ASCII letters; False is certain.

    Any of its letters may stand as ``\u00XX``.
    """
    return body.find(word) >= 0 or body.find(b"\\u00") >= 0


def has_images(request: ChatRequest) -> bool:
    """Whether a chat request shows an image, by address or as data."""
    if not may_hold(request.body, b"image_url"):
        return False
    return any(
        part.get("type") == "image_url" or "image_url" in part
        for _, part in list_parts(request.body)
    )


def list_parts(body: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of a chat request's messages, and its place: ``messages[0].content[1]``."""
    return _walk(msgspec.json.decode(body))


def _walk(request: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    # A legacy text request has no messages, or what it likes under that name.
    messages = request.get("messages")
    for at, message in enumerate(messages if isinstance(messages, list) else ()):
        parts = message.get("content") if isinstance(message, dict) else None
        for position, part in enumerate(parts if isinstance(parts, list) else ()):
            if isinstance(part, dict):
                yield f"messages[{at}].content[{position}]", part


def find_addresses(request: ChatRequest | TextRequest) -> list[str]:
    """Every http(s) address of an image, once each, in order."""
    if isinstance(request, TextRequest):
        found = [image.image_url for image in request.images]
    elif not may_hold(request.body, b"image_url"):
        return []
    else:
        found = [holder[key] for holder, key in _list_urls(msgspec.json.decode(request.body))]
    return list(dict.fromkeys(url for url in found if url.startswith(_HTTP)))


def replace_addresses(
    request: ChatRequest | TextRequest, images: Mapping[str, str]
) -> ChatRequest | TextRequest:
    """The request with data URLs, by address, where the addresses stood."""
    if isinstance(request, TextRequest):
        inlined = tuple(
            ImageRef(images.get(image.image_url, image.image_url), image.detail)
            for image in request.images
        )
        return msgspec.structs.replace(request, images=inlined)
    value = msgspec.json.decode(request.body)
    for holder, key in _list_urls(value):
        holder[key] = images.get(holder[key], holder[key])
    return msgspec.structs.replace(request, body=msgspec.json.encode(value))


def _list_urls(request: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """What holds an image's URL, and under which key; some clients write it without an object."""
    for _, part in _walk(request):
        image = part.get("image_url")
        if isinstance(image, str):
            yield part, "image_url"
        elif isinstance(image, dict) and isinstance(image.get("url"), str):
            yield image, "url"


def read_data_url(url: str) -> bytes | None:
    """The base64 text of an image's data URL; None where it is none, or is not plain base64."""
    head, comma, text = url.partition(",")
    if not (comma and head.startswith("data:image/") and head.endswith(";base64")):
        return None
    payload = text.encode("utf-8", "replace")
    end = payload.translate(None, _BASE64)
    return payload if end in _PADDINGS and payload.endswith(end) else None


def measure_base64(payload: bytes) -> tuple[int, int] | None:
    """``measure_image`` for a file in base64, of which no more is decoded than it takes."""
    size = measure_image(_decode(payload[:_HEAD_CHARACTERS]))
    if size is None and len(payload) > _HEAD_CHARACTERS:
        size = measure_image(_decode(payload))
    return size


def _decode(payload: bytes) -> bytes:
    text = payload.rstrip(b"=")
    if len(text) % 4 == 1:  # no whole byte is in it
        text = text[:-1]
    return binascii.a2b_base64(text + b"=" * (-len(text) % 4))


def measure_image(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels as a PNG, JPEG, GIF or BMP file's header tells them.

    None for every other file, and for a header that is cut off or says no size. Sources: RFC
    2083 section 4.1.1, ITU-T T.81 annex B.1 and B.2, the GIF89a specification section 18, and
    learn.microsoft.com on BITMAPINFOHEADER and BITMAPCOREHEADER (read 2026-11-22).
    """
    if data.startswith(_PNG) and len(data) >= 24:
        size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    elif data.startswith((b"GIF87a", b"GIF89a")) and len(data) >= 10:
        size = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    elif data.startswith(b"BM") and len(data) >= 26:
        size = _measure_bmp(data)
    elif data.startswith(b"\xff\xd8"):
        size = _measure_jpeg(data)
    else:
        return None
    return size if all(size) else None


def _measure_bmp(data: bytes) -> tuple[int, int]:
    header_bytes = int.from_bytes(data[14:18], "little")
    if header_bytes == 12:
        return int.from_bytes(data[18:20], "little"), int.from_bytes(data[20:22], "little")
    if header_bytes not in _BMP_HEADERS:
        return 0, 0
    # A height below zero: the rows stand in the file from top to bottom.
    width, height = (
        abs(int.from_bytes(data[at : at + 4], "little", signed=True)) for at in (18, 22)
    )
    return width, height


def _measure_jpeg(data: bytes) -> tuple[int, int]:
    """Walk the segments to the frame's header; filling bytes may stand before each."""
    at = 2
    while (at := data.find(b"\xff", at)) >= 0:
        while data[at : at + 1] == b"\xff":
            at += 1
        kind = data[at] if at < len(data) else 0
        if kind in _JPEG_FRAMES and len(data) >= at + 8:
            height, width = data[at + 4 : at + 6], data[at + 6 : at + 8]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
        if kind not in _JPEG_TABLES:
            break
        at += 1 + int.from_bytes(data[at + 1 : at + 3], "big")
    return 0, 0
