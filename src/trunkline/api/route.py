"""Every route of the gateway in one place: inference paths by format, and their prefixes."""

from collections.abc import Iterable
from typing import Final

from trunkline.routing.fit import (
    OPENAI_CHAT,
    OPENAI_EMBEDDING,
    OPENAI_TEXT,
    SGP_CHAT,
    SGP_COMPLETION,
    ClientFormat,
)

INFERENCE: Final[dict[str, ClientFormat]] = {
    "/v4/completions": SGP_COMPLETION,
    "/v3/completions": SGP_COMPLETION,
    "/v2/completions": SGP_COMPLETION,
    "/v4/beta/chat/completions": SGP_CHAT,
    "/v5/chat/completions": SGP_CHAT,
    "/v1/chat/completions": OPENAI_CHAT,
    "/v1/completions": OPENAI_TEXT,
    "/v1/embeddings": OPENAI_EMBEDDING,
}

DEFAULT_PREFIX: Final = "/public"
"""The official SDKs' local environments end in it."""

_VERSION_PREFIX: Final = "/v4"
"""A base URL that already ends in ``/v4`` makes the v4 SDK ask for ``/v4/v4/…``."""


def list_prefixes(root_path: str) -> list[str]:
    """The prefixes under which every route answers, "" first."""
    prefixes = ["", DEFAULT_PREFIX]
    extra = root_path.strip("/")
    if extra:
        prefixes += [f"/{extra}", f"/{extra}{DEFAULT_PREFIX}"]
    return prefixes


def expand_inference(prefixes: Iterable[str]) -> dict[bytes, ClientFormat]:
    """The format of every raw path on which inference answers."""
    paths: dict[bytes, ClientFormat] = {}
    for prefix in prefixes:
        for path, form in INFERENCE.items():
            paths[f"{prefix}{path}".encode()] = form
            if path.startswith(_VERSION_PREFIX):
                paths[f"{prefix}{_VERSION_PREFIX}{path}".encode()] = form
    return paths
