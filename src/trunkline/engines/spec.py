"""What an engine is told to run, and the order in which its child process gets it."""

from pathlib import Path
from typing import Final

import msgspec

READY: Final = b"READY\n"
"""What the child writes on its standard output once its server answers."""

EXIT_HOPELESS: Final = 78
"""The child's exit code for a fault that no restart can mend (EX_CONFIG of sysexits)."""


class EngineError(Exception):
    """An engine did not come up; the message says why and what to do."""


class EngineSpec(msgspec.Struct, frozen=True):
    """One engine: which model file it serves and with how much room.

    Args:
        name: the engine's name in the configuration.
        model_path: the GGUF file.
        alias: the model name that the engine answers with.
        context_tokens: prompt and answer of one call together.
        slots: calls that run at the same time; further ones wait inside the engine.
        threads: processor threads; None is one for each core that this process may use, less one
            that is left to the gateway.
        mmproj: the projector file of a model that reads images, if it has one.
    """

    name: str
    model_path: Path
    alias: str
    context_tokens: int = 4096
    slots: int = 4
    threads: int | None = None
    mmproj: Path | None = None


class Order(msgspec.Struct, frozen=True):
    """The one line of JSON that the child reads first: never in arguments or environment."""

    spec: EngineSpec
    port: int
    key: str


def encode_order(order: Order) -> bytes:
    """Write an order as one line of JSON."""
    return msgspec.json.encode(order, enc_hook=str) + b"\n"


def decode_order(line: bytes) -> Order:
    """Read an order back; paths travel as text."""
    return msgspec.json.decode(line, type=Order, dec_hook=lambda kind, text: kind(text))
