"""The beginning of a conversation, by which it stays at one target; pure."""

from hashlib import blake2b
from typing import Final

import msgspec

from trunkline.chat import TextRequest
from trunkline.routing.ask import Request

PROMPT_CHARS: Final = 1024
"""Of a prompt without turns: what vendors' and engines' caches keep is its beginning."""
TURNS: Final = 8
"""Where no user speaks among the first turns, they are the beginning."""


class _Turn(msgspec.Struct):
    role: str = ""
    content: msgspec.Raw = msgspec.Raw(b"null")


class _Body(msgspec.Struct):
    messages: list[_Turn] = []
    prompt: msgspec.Raw = msgspec.Raw(b"null")


_DECODER: Final = msgspec.json.Decoder(_Body)


def find_prefix(account_id: str, request: Request) -> bytes:
    """A digest of the account, the model, the system prompt and the first message of the user.

    A later turn of the same conversation has the same one. Accounts share no cache.
    """
    digest = blake2b(digest_size=32)
    for text in (account_id, request.model):
        digest.update(text.encode() + b"\0")
    if isinstance(request, TextRequest):
        digest.update(request.prompt[:PROMPT_CHARS].encode("utf-8", "surrogatepass"))
        return digest.digest()
    try:
        body = _DECODER.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError):  # told when it is fitted to a target
        body = _Body()
    digest.update(bytes(body.prompt)[:PROMPT_CHARS])
    for turn in body.messages[:TURNS]:
        digest.update(b"\0%b\0%b" % (turn.role.encode(), bytes(turn.content)))
        if turn.role == "user":
            break
    return digest.digest()
