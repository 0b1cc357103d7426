"""How many tokens a request can use at most, and a request held to fewer."""

from typing import Final

import msgspec

from trunkline.chat import TextRequest
from trunkline.routing.ask import Request
from trunkline.routing.fit import RAW_MAX_TOKENS
from trunkline.routing.table import Route
from trunkline.wire.body import read_fields

OUTPUT_TOKENS: Final = 4096
"""What a call under a budget may produce where neither the client nor the catalog says."""

IMAGE_TOKENS: Final = 5000
"""More than any vendor counts for an image, which may stand in a request as a short address."""

_IMAGE: Final = b'"image_url":'
_LIMITS: Final = ("max_tokens", "max_completion_tokens")
_ENCODER: Final = msgspec.json.Encoder()


class Bound(msgspec.Struct, frozen=True, gc=False):
    """The most that a request can use: tokens of input, of output for each of ``copies``, images.

    ``output`` is None where nothing bounds it.
    """

    input: int
    output: int | None
    copies: int
    images: int


def find_bound(request: Request, body_bytes: int, route: Route) -> Bound:
    """The most that a request can use.

    A token is at least one byte of text, so no input has more tokens than bytes; an answer is no
    longer than the client or SGP's default allows, the model can write, or its context holds.
    """
    columns = route.columns
    if isinstance(request, TextRequest):
        asked, copies = request.max_tokens, 1
        if asked is None:
            asked = columns.default_max_tokens
        if asked is None and columns.prompt_mode != "user_message":
            asked = RAW_MAX_TOKENS
    else:
        asked, copies = request.max_tokens, request.copies
    if asked is None:
        asked = columns.max_output or columns.context_window
    images = count_images(request)
    return Bound(body_bytes + images * IMAGE_TOKENS, asked, copies, images)


def count_images(request: Request) -> int:
    """How many images a request has, at most."""
    if isinstance(request, TextRequest):
        return len(request.images)
    return request.body.count(_IMAGE)


def hold_output(request: Request, tokens: int) -> Request:
    """The same request, each alternative of its answer held to so many tokens, 1 at least."""
    if isinstance(request, TextRequest):
        return msgspec.structs.replace(request, max_tokens=tokens)
    fields = read_fields(request.body)
    limit = msgspec.Raw(_ENCODER.encode(tokens))
    named = [name for name in _LIMITS if name in fields]
    fields |= dict.fromkeys(named or _LIMITS[:1], limit)
    body = _ENCODER.encode(fields)
    return msgspec.structs.replace(request, body=body, max_tokens=tokens)
