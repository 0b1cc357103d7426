"""The model files that Trunkline knows by name, as rows of data."""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Literal

import msgspec

DEFAULT_MODEL = "smollm2-135m-instruct"


class KnownModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of ``catalog.toml``: a model file, what it is, and what carries it.

    Args:
        file: its name in the cache.
        sha256: of the file, in hexadecimal.
        size_bytes: of the file.
        licence: an SPDX identifier.
        kind: ``chat`` for a model with a chat template.
        tools: its template knows tools.
        context_tokens: the context it was trained for.
        wheel: the Python package, with its exact version, that the file lies in.
        member: where in the package it lies.
    """

    file: str
    sha256: str
    size_bytes: int
    licence: str
    kind: Literal["chat", "text"]
    tools: bool
    context_tokens: int
    wheel: str
    member: str


def read_library() -> Mapping[str, KnownModel]:
    """Read the known models, by name."""
    text = files("trunkline.engines").joinpath("catalog.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, KnownModel])
