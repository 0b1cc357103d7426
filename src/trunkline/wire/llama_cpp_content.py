"""What llama.cpp's server is shown of a message: texts, and pictures that it can read and hold.

It would take videos and sounds, and would start programs for bytes that it does not know
(docs/engine.md, Images); and it decodes a picture whatever memory that takes.
"""

from typing import Final

from trunkline.chat import ChatRequest, TextRequest
from trunkline.errors import GatewayError
from trunkline.wire.body import SHOWN_CHARACTERS
from trunkline.wire.image import list_parts, may_hold, measure_base64, read_data_url

PIXEL_LIMIT: Final = 40_000_000
"""Of one picture; a pixel takes three bytes of the engine's memory or four."""
TOTAL_PIXEL_LIMIT: Final = 4 * PIXEL_LIMIT
"""Of all pictures of a call, which the engine decodes before it looks at the first."""


def check_content(request: ChatRequest | TextRequest) -> None:
    """Look at the parts and pictures of a request for an engine of ours.

    Raises:
        GatewayError: ``invalid_request`` that names a part of another type than text and
            image_url, or a picture that is not there as data, is of a format that the engine
            cannot read, or has too many pixels.
    """
    pixels = 0
    if isinstance(request, TextRequest):
        for at, shown in enumerate(request.images):
            pixels += _count_pixels(shown.image_url, f"images[{at}].image_url", pixels)
        return
    if not may_hold(request.body, b'"type"'):
        return
    for place, part in list_parts(request.body):
        kind = part.get("type")
        if kind == "image_url":
            image = part.get("image_url")
            url = image.get("url") if isinstance(image, dict) else None
            pixels += _count_pixels(url, f"{place}.image_url.url", pixels)
        elif kind != "text":
            other = f"'{kind[:SHOWN_CHARACTERS]}'" if isinstance(kind, str) else "one without"
            raise _refuse(place, f"this model takes parts of type text and image_url, not {other}.")


def _count_pixels(url: object, place: str, before: int) -> int:
    data = read_data_url(url) if isinstance(url, str) else None
    if data is None:
        raise _refuse(place, "expected an http(s) address, or an image's data URL in plain base64.")
    size = measure_base64(data)
    if size is None:
        raise _refuse(place, "expected a PNG, JPEG, GIF or BMP file.")
    width, height = size
    if width * height > PIXEL_LIMIT:
        raise _refuse(
            place,
            f"an image of {width} x {height} pixels; this model takes at most "
            f"{PIXEL_LIMIT // 1_000_000} megapixels.",
        )
    if before + width * height > TOTAL_PIXEL_LIMIT:
        raise _refuse(
            place,
            f"with this image the call has more than {TOTAL_PIXEL_LIMIT // 1_000_000} megapixels "
            "together.",
        )
    return width * height


def _refuse(place: str, why: str) -> GatewayError:
    return GatewayError("invalid_request", f"{place}: {why}", param=place.partition("[")[0])
