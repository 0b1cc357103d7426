"""How each vendor fails, in its own shape, and what a client has to be told.

Shapes after the vendors' own pages on errors, their SDKs' types, and errors that people reported
(read 2026-11-22). Every body holds the gateway's key and words of the vendor's: neither may reach
a client.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from trunkline.wire.event_stream import write_message
from wires.dialect import DIALECTS
from wires.stage import CANARY, Answer

WORDS: Final = f"vendor-words-canary {CANARY}"
OVERFLOW_PHRASE: Final = "This model's maximum context length is"


@dataclass(frozen=True)
class Failure:
    """An error answer, and what it becomes.

    Attributes:
        told: the code that the client is told, and ``told_status`` the status.
        wait_s: advice to wait, "" for none.
    """

    status: int
    body: Any
    told: str
    told_status: int
    wait_s: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def answer(self) -> Answer:
        """The upstream's answer."""
        kind = {"content-type": "application/json"}
        return Answer((json.dumps(self.body).encode(),), self.status, kind | self.headers)


def _openai(
    kind: str, code: str | int | None, message: str = WORDS, param: str | None = None
) -> Any:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _anthropic(kind: str, message: str = WORDS) -> Any:
    error = {"type": kind, "message": message}
    return {"type": "error", "error": error, "request_id": "req_011C"}


def _google(code: int, status: str, message: str = WORDS, *details: Any) -> Any:
    error = {"code": code, "message": message, "status": status, "details": list(details)}
    return {"error": error}


def _amazon(name: str) -> dict[str, str]:
    return {"x-amzn-errortype": f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"}


_GOOGLE: Final = "type.googleapis.com/google.rpc"
_BAD_KEY: Final = {
    "@type": f"{_GOOGLE}.ErrorInfo",
    "reason": "API_KEY_INVALID",
    "domain": "googleapis.com",
}
_RETRY: Final = {"@type": f"{_GOOGLE}.RetryInfo", "retryDelay": "7s"}
_LATER: Final = {"retry-after": "7"}
_TOO_LONG: Final = f"prompt is too long: 210000 tokens > 200000 maximum {WORDS}"

FAILURES: Final[dict[str, dict[str, Failure]]] = {
    "openai": {
        "key": Failure(
            401, _openai("invalid_request_error", "invalid_api_key"), "upstream_auth", 502
        ),
        "rate": Failure(
            429,
            _openai("tokens", "rate_limit_exceeded"),
            "rate_limit_exceeded",
            429,
            "7",
            _LATER,
        ),
        "quota": Failure(
            429, _openai("insufficient_quota", "insufficient_quota"), "insufficient_quota", 429
        ),
        "overflow": Failure(
            400,
            _openai("invalid_request_error", "context_length_exceeded", param="messages"),
            "context_length_exceeded",
            400,
        ),
        "broken": Failure(500, _openai("server_error", None), "upstream_error", 502),
        "overloaded": Failure(503, _openai("server_error", None), "overloaded", 503, "1"),
        "refused": Failure(
            400,
            _openai("invalid_request_error", "unsupported_value", param="temperature"),
            "upstream_rejected",
            400,
        ),
    },
    "anthropic": {
        "key": Failure(401, _anthropic("authentication_error"), "upstream_auth", 502),
        "rate": Failure(
            429, _anthropic("rate_limit_error"), "rate_limit_exceeded", 429, "7", _LATER
        ),
        "overflow": Failure(
            400,
            _anthropic("invalid_request_error", _TOO_LONG),
            "context_length_exceeded",
            400,
        ),
        "quota": Failure(402, _anthropic("billing_error"), "insufficient_quota", 429),
        "broken": Failure(500, _anthropic("api_error"), "upstream_error", 502),
        "overloaded": Failure(529, _anthropic("overloaded_error"), "overloaded", 503, "1"),
        "refused": Failure(400, _anthropic("invalid_request_error"), "upstream_rejected", 400),
    },
    "gemini": {
        "key": Failure(
            400, _google(400, "INVALID_ARGUMENT", WORDS, _BAD_KEY), "upstream_auth", 502
        ),
        "other key": Failure(401, _google(401, "UNAUTHENTICATED"), "upstream_auth", 502),
        "rate": Failure(
            429,
            _google(429, "RESOURCE_EXHAUSTED", WORDS, _RETRY),
            "rate_limit_exceeded",
            429,
            "7",
        ),
        "overflow": Failure(
            400,
            _google(
                400,
                "INVALID_ARGUMENT",
                "The input token count (210000) exceeds the maximum number of tokens allowed "
                f"(200000). {WORDS}",
            ),
            "context_length_exceeded",
            400,
        ),
        "broken": Failure(500, _google(500, "INTERNAL"), "upstream_error", 502),
        "overloaded": Failure(503, _google(503, "UNAVAILABLE"), "overloaded", 503, "1"),
        "refused": Failure(400, _google(400, "INVALID_ARGUMENT"), "upstream_rejected", 400),
    },
    "bedrock": {
        "key": Failure(
            403,
            {"message": WORDS},
            "upstream_auth",
            502,
            headers=_amazon("UnrecognizedClientException"),
        ),
        "rate": Failure(
            429,
            {"message": WORDS},
            "rate_limit_exceeded",
            429,
            "1",
            _amazon("ThrottlingException"),
        ),
        "overflow": Failure(
            400,
            {"message": f"The model returned the following errors: {_TOO_LONG}"},
            "context_length_exceeded",
            400,
            headers=_amazon("ValidationException"),
        ),
        "other overflow": Failure(
            400,
            {
                "message": "The model returned the following errors: input length and "
                f"`max_tokens` exceed context limit: 196395 + 64000 > 204698, {WORDS}"
            },
            "context_length_exceeded",
            400,
            headers=_amazon("ValidationException"),
        ),
        "broken": Failure(
            500,
            {"message": WORDS},
            "upstream_error",
            502,
            headers=_amazon("InternalServerException"),
        ),
        "quota": Failure(
            400,
            {"message": WORDS},
            "insufficient_quota",
            429,
            headers=_amazon("ServiceQuotaExceededException"),
        ),
        "model broken": Failure(
            424,
            {"message": WORDS, "originalStatusCode": 500, "resourceName": "claude"},
            "upstream_error",
            502,
            headers=_amazon("ModelErrorException"),
        ),
        "overloaded": Failure(
            503,
            {"message": WORDS},
            "overloaded",
            503,
            "1",
            _amazon("ServiceUnavailableException"),
        ),
        "refused": Failure(
            400,
            {"message": WORDS},
            "upstream_rejected",
            400,
            headers=_amazon("ValidationException"),
        ),
    },
    "cohere": {
        "key": Failure(401, {"id": "e1", "message": WORDS}, "upstream_auth", 502),
        "rate": Failure(
            429, {"id": "e2", "message": WORDS}, "rate_limit_exceeded", 429, "7", _LATER
        ),
        "overflow": Failure(
            400,
            {
                "id": "e3",
                "message": "too many tokens: total number of tokens in the prompt cannot exceed "
                f"200000 - received 210000. {WORDS}",
            },
            "context_length_exceeded",
            400,
        ),
        "broken": Failure(500, {"id": "e4", "message": WORDS}, "upstream_error", 502),
        "overloaded": Failure(503, {"id": "e5", "message": WORDS}, "overloaded", 503, "1"),
        "refused": Failure(400, {"id": "e6", "message": WORDS}, "upstream_rejected", 400),
    },
    "llm-engine": {
        "key": Failure(401, {"detail": WORDS}, "upstream_auth", 502),
        "rate": Failure(429, {"detail": WORDS}, "rate_limit_exceeded", 429, "7", _LATER),
        "overflow": Failure(
            400,
            _openai(
                "BadRequestError",
                400,
                f"{OVERFLOW_PHRASE} 200000 tokens. However, you requested 0 output tokens and "
                f"your prompt contains at least 200001 input tokens. {WORDS}",
                param="input_tokens",
            ),
            "context_length_exceeded",
            400,
        ),
        "broken": Failure(500, {"error": WORDS, "request_id": "r"}, "upstream_error", 502),
        "overloaded": Failure(503, {"detail": WORDS}, "overloaded", 503, "1"),
        "refused": Failure(400, {"detail": WORDS}, "upstream_rejected", 400),
    },
}


@dataclass(frozen=True)
class Inside:
    """A failure that is told after the status 200.

    Attributes:
        frame: how the vendor tells it.
        told: the code that the client is told, and ``told_status`` where nothing was said before.
        before: how many frames of the recorded answer say nothing yet.
        after: how many of them begin the answer.
    """

    frame: bytes
    told: str
    told_status: int
    before: int
    after: int


def _frame(value: Any, event: str = "") -> bytes:
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(value)}\n\n".encode()


_ENDED: Final = {"finish_reason": "ERROR", "error": WORDS}
_AMAZON_HEADERS: Final = {
    ":exception-type": "throttlingException",
    ":content-type": "application/json",
    ":message-type": "exception",
}
_ENGINE: Final = {"status_code": 500, "content": {"error": WORDS, "timestamp": "now"}}

INSIDE: Final = {
    "openai": Inside(_frame(_openai("server_error", None)), "upstream_error", 502, 1, 2),
    "anthropic": Inside(_frame(_anthropic("overloaded_error"), "error"), "overloaded", 503, 2, 8),
    "gemini": Inside(_frame(_google(503, "UNAVAILABLE")), "overloaded", 503, 0, 2),
    "bedrock": Inside(
        write_message(_AMAZON_HEADERS, json.dumps({"message": WORDS}).encode()),
        "rate_limit_exceeded",
        429,
        1,
        6,
    ),
    "cohere": Inside(
        _frame({"type": "message-end", "delta": _ENDED}, "message-end"),
        "upstream_error",
        502,
        2,
        7,
    ),
    "llm-engine": Inside(
        _frame({"request_id": "r", "error": _ENGINE}), "upstream_error", 502, 1, 4
    ),
}


def answer_inside(wire: str, frames: int, *tail: bytes, is_cut: bool = False) -> Answer:
    """The beginning of the recorded answer with a thought, and then something else."""
    dialect = DIALECTS[wire]
    pieces = (*dialect.cut("thought")[:frames], *tail)
    kind = {"content-type": dialect.kind}
    return Answer(pieces, headers=kind, is_streamed=True, is_cut=is_cut)
