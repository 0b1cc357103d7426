"""Faults: what an upstream can do wrong, by name, and what an honest gateway makes of it."""

from typing import Final, Literal, get_args

import msgspec

from trunkline.errors import GatewayError

At = Literal["connect", "head", "before_content", "after_content", "end"]
"""When a fault happens: before a request is read, before the answer's head, after the head but
before the first content, after some content, or after the finish reason."""
Outcome = Literal["complete", "length", "filtered", "failed", "either"]
Expect = Literal[
    "complete", "length", "filtered", "error before content", "error after content", "either"
]
"""What the client of an honest gateway must see; see ``Kind.expect``."""
Only = Literal["", "stream", "whole"]

_START: Final[tuple[At, ...]] = ("before_content", "after_content")
_MIDDLE: Final[tuple[At, ...]] = ("head", *_START, "end")
_HEAD: Final[tuple[At, ...]] = ("head",)
_ALL: Final = ("openai", "anthropic", "gemini", "bedrock", "cohere", "llm-engine")
_SSE: Final = ("openai", "anthropic", "gemini", "cohere", "llm-engine")


class Kind(msgspec.Struct, frozen=True):
    """One kind of fault.

    Args:
        says: what the upstream does, in one sentence.
        at: where it can happen; the first is the default.
        outcome: what an honest gateway makes of it where nothing else can help.
        codes: the gateway's codes that are right for an error.
        only: the kind exists for streams or for whole answers only; "" for both.
        operations: what it exists for.
        dialects: formats that have what it breaks.
        status: of a status fault.
        needs_tools: shows only where the request offers a tool.
    """

    says: str
    at: tuple[At, ...] = _HEAD
    outcome: Outcome = "failed"
    codes: tuple[str, ...] = ("upstream_error",)
    only: Only = ""
    operations: tuple[str, ...] = ("chat", "text", "embeddings")
    dialects: tuple[str, ...] = _ALL
    status: int = 0
    needs_tools: bool = False

    def expect(self, at: At, *, stream: bool) -> Expect:
        """What the client of an honest gateway with this one target must see.

        ``complete``: the text as it was sent, and its own finish reason. ``length`` and
        ``filtered``: the same with that finish reason. ``either``: complete or an error, for
        the upstream has said all but not ended well; never a part shown as the whole.
        """
        if self.outcome != "failed":
            return self.outcome
        if at == "end":
            return "either" if stream else "complete"
        if stream and at == "after_content":
            return "error after content"
        return "error before content"

    def applies(self, operation: str, dialect: str = "openai", *, stream: bool) -> bool:
        """Whether the kind exists for an operation of a dialect, streamed or not."""
        shape = "stream" if stream else "whole"
        return (
            operation in self.operations and dialect in self.dialects and self.only in ("", shape)
        )


def _refuse(status: int, says: str, *codes: str) -> Kind:
    sentence = f"Answers {status}: {says}, with the dialect's own error body."
    return Kind(sentence, codes=codes or ("upstream_error",), status=status)


_TALK: Final = ("chat", "text")

FAULTS: Final[dict[str, Kind]] = {
    "status_400": _refuse(400, "the request is refused", "upstream_rejected"),
    "status_401": _refuse(401, "the key is not accepted", "upstream_auth"),
    "status_402": _refuse(402, "the account is used up", "insufficient_quota"),
    "status_403": _refuse(403, "the key may not do this", "upstream_auth"),
    "status_404": _refuse(404, "there is no such model", "model_not_found"),
    "status_408": _refuse(408, "the request took too long", "upstream_timeout"),
    "status_409": _refuse(409, "there is a conflict"),
    "status_413": _refuse(413, "the request is too large", "upstream_rejected"),
    "status_422": _refuse(422, "a field is wrong", "upstream_rejected"),
    "status_429": _refuse(429, "too many requests, with retry-after", "rate_limit_exceeded"),
    "status_429_bare": _refuse(429, "too many requests, no retry-after", "rate_limit_exceeded"),
    "status_500": _refuse(500, "an internal error"),
    "status_502": _refuse(502, "a bad gateway on the way"),
    "status_503": _refuse(503, "it is overloaded", "overloaded"),
    "status_504": _refuse(504, "a gateway on the way gave up", "upstream_timeout"),
    "status_529": _refuse(529, "it is overloaded, in Anthropic's number", "overloaded"),
    "status": Kind(
        "Answers the status that the parameter `status` names.",
        codes=("upstream_error", "upstream_rejected", "overloaded", "upstream_timeout"),
        status=500,
    ),
    "context_overflow": Kind(
        "Refuses the prompt as too long for the model, in the dialect's own words.",
        codes=("context_length_exceeded",),
        operations=_TALK,
        status=400,
    ),
    "filter_error": Kind(
        "Refuses the prompt by a content filter, with status 400.",
        codes=("upstream_rejected",),
        operations=_TALK,
        status=400,
    ),
    "filter_finish": Kind(
        "Stops after some content; the finish reason names the content filter.",
        ("after_content",),
        "filtered",
        operations=_TALK,
    ),
    "length_finish": Kind(
        "Stops after some content; the finish reason names the token limit.",
        ("after_content",),
        "length",
        operations=_TALK,
    ),
    "redirect": Kind("Answers 302 with a location elsewhere.", status=302),
    "delay": Kind("Waits `delay_s` seconds, then goes on as if nothing was.", _MIDDLE, "complete"),
    "drip": Kind("Waits `delay_s` seconds before every frame.", _HEAD, "complete", only="stream"),
    "hang": Kind(
        "Falls silent and keeps the connection open.", _MIDDLE, codes=("upstream_timeout",)
    ),
    "cut": Kind("Closes the connection (FIN) without an end.", (*_MIDDLE, "connect")),
    "reset": Kind("Resets the connection (RST).", (*_MIDDLE, "connect")),
    "early_end": Kind(
        "Ends the answer cleanly (last chunk) without a finish reason.",
        ("after_content", "before_content"),
    ),
    "no_done": Kind(
        "Sends the finish reason, but not the dialect's own last frame, and ends cleanly.",
        ("end",),
        "either",
        only="stream",
        operations=_TALK,
        dialects=("openai", "anthropic", "cohere"),
    ),
    "truncated_json": Kind("Ends cleanly in the middle of a JSON text.", _START),
    "broken_frame": Kind("Sends one frame of broken JSON, then goes on.", _START, only="stream"),
    "garbage": Kind("Sends seeded random bytes where the answer should go on.", _START),
    "bad_utf8": Kind("Sends a text with bytes that are no UTF-8.", _START, operations=_TALK),
    "bad_chunk": Kind("Sends a chunk whose size line is no number.", _START),
    "bad_http": Kind("Answers with bytes that are no HTTP."),
    "long_head": Kind("Answers with a header of `size_bytes` (default 1 MiB).", _HEAD, "either"),
    "html": Kind("Answers 200 with an HTML page.", ("before_content",)),
    "empty": Kind("Answers 200 with an empty body.", ("before_content",)),
    "wrong_type": Kind("Answers rightly, but with the content type text/plain.", _HEAD, "either"),
    "no_type": Kind("Answers rightly, but without a content type.", _HEAD, "complete"),
    "json_for_stream": Kind(
        "Answers a stream request with a whole answer.", _HEAD, "either", only="stream"
    ),
    "sse_for_whole": Kind(
        "Answers a request for a whole answer with a stream.",
        _HEAD,
        "either",
        only="whole",
        operations=_TALK,
    ),
    "error_in_200": Kind(
        "Answers 200, with an error object instead of what should come, and ends cleanly.",
        _START,
        codes=("upstream_error", "overloaded", "upstream_rejected"),
    ),
    "error_event": Kind(
        "Sends an event named error with an error object, and ends cleanly.",
        _START,
        codes=("upstream_error", "overloaded"),
        only="stream",
    ),
    "duplicate": Kind(
        "Sends a content frame twice; nobody behind it can tell.",
        ("after_content",),
        "complete",
        only="stream",
    ),
    "reorder": Kind(
        "Swaps two content frames; nobody behind it can tell.",
        ("after_content",),
        "complete",
        only="stream",
    ),
    "after_finish": Kind(
        "Sends a content frame after the finish reason.", ("end",), "either", only="stream"
    ),
    "trailing_garbage": Kind("Sends bytes behind the end of the answer.", ("end",), "either"),
    "huge_frame": Kind(
        "Sends one piece of text of `size_bytes` (default 1 MiB).",
        ("after_content",),
        "either",
        operations=_TALK,
    ),
    "short_length": Kind(
        "Names a content-length that is smaller than the body.", ("after_content",)
    ),
    "long_length": Kind(
        "Names a content-length that is larger than the body, and closes.", _HEAD, "either"
    ),
    "bad_tool_arguments": Kind(
        "Calls a tool with arguments that are no JSON object.",
        ("after_content",),
        operations=("chat",),
        dialects=("openai", "anthropic", "bedrock", "cohere", "llm-engine"),  # Gemini has no text
        needs_tools=True,
    ),
    "no_usage": Kind("Does not tell how many tokens it used.", _HEAD, "complete"),
    "lying_usage": Kind("Tells of a million tokens that were not used.", _HEAD, "complete"),
    "byte_writes": Kind("Sends every byte by itself.", _HEAD, "complete"),
    "crlf": Kind(
        "Ends lines of frames with CRLF.", _HEAD, "complete", only="stream", dialects=_SSE
    ),
    "comments": Kind(
        "Sends comments and pings between the frames.",
        _HEAD,
        "complete",
        only="stream",
        dialects=_SSE,
    ),
    "informational": Kind("Sends 103 Early Hints before the answer.", _HEAD, "complete"),
    "gzip": Kind("Compresses the answer though nobody asked for it.", _HEAD, "either"),
}
"""Every kind of fault by its name: the closed set."""


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fault to be played.

    Args:
        kind: a name of ``FAULTS``.
        at: where it happens; "" for the kind's first place.
        after_chunks: content frames that come before a fault after content.
        delay_s: of ``delay`` and ``drip``.
        status: of ``status``.
        retry_after: seconds, sent with 429 and 503; None for the kind's own.
        body: sent instead of the kind's own body or garbage; "" for its own.
        size_bytes: of ``huge_frame`` and ``long_head``; 0 for its own.
        seed: of random bytes.
    """

    kind: str
    at: At | Literal[""] = ""
    after_chunks: int = 1
    delay_s: float = 0.2
    status: int = 0
    retry_after: float | None = None
    body: str = ""
    size_bytes: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for a kind that is not known or a place it cannot be at."""
        known = FAULTS.get(self.kind)
        if known is None:
            raise ValueError(f"there is no fault '{self.kind}'")
        if self.at and self.at not in known.at:
            raise ValueError(f"'{self.kind}' cannot be at '{self.at}', only {', '.join(known.at)}")

    @property
    def place(self) -> At:
        """Where it happens."""
        return self.at or FAULTS[self.kind].at[0]

    def expect(self, *, stream: bool) -> Expect:
        """What the client of an honest gateway must see; see ``Kind.expect``."""
        return FAULTS[self.kind].expect(self.place, stream=stream)


PLACES: Final[tuple[str, ...]] = get_args(At)
_SHORT: Final = {"after": "after_chunks", "stream-after": "after_chunks", "delay": "delay_s"}


def read_fault(text: str) -> Fault:
    """The fault that ``NAME[:key=value,…]`` stands for.

    Raises:
        GatewayError: ``invalid_request``, with what is wrong with it.
    """
    name, _, rest = text.partition(":")
    given: dict[str, str] = {"kind": name}
    for pair in filter(None, rest.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise GatewayError("invalid_request", f"Fault '{text}': '{pair}' has no '='.")
        given[_SHORT.get(key, key.replace("-", "_"))] = value
    try:
        return msgspec.convert(given, Fault, strict=False)
    except msgspec.ValidationError as error:
        raise GatewayError("invalid_request", f"Fault '{text}': {error}.") from None
