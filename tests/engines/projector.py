"""A projector file for the default model, tiny and random but real, and pictures to show it."""

import random
import struct
import zlib
from array import array
from base64 import b64encode
from math import prod
from pathlib import Path

MODEL_WIDTH = 576
"""Numbers in an embedding of the default model; a projector must end in as many."""

IMAGE_TOKENS = 4
"""Tokens of one picture, whatever its size: 28 pixels a side in patches of 14."""

_WIDTH, _INNER = 32, 64

# ggml/docs/gguf.md (read 2026-11-22): little-endian; these are its numbers of value types.
_UINT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 6, 7, 8, 9
_VERSION, _ALIGNMENT, _TENSOR_FLOAT32 = 3, 32, 0

Value = bool | int | float | str | list[float]


def write_projector(path: Path, model_width: int = MODEL_WIDTH) -> Path:
    """Write a projector of LLaVA's kind: a CLIP encoder of two layers and two matrices."""
    shapes: dict[str, tuple[int, ...]] = {
        "v.patch_embd.weight": (14, 14, 3, _WIDTH),
        "v.position_embd.weight": (_WIDTH, IMAGE_TOKENS),
        "mm.0.weight": (_WIDTH, _INNER),
        "mm.0.bias": (_INNER,),
        "mm.2.weight": (_INNER, model_width),
        "mm.2.bias": (model_width,),
    }
    for layer in ("v.blk.0", "v.blk.1"):
        shapes |= {f"{layer}.attn_{name}.weight": (_WIDTH, _WIDTH) for name in "qkv"}
        shapes |= {
            f"{layer}.attn_out.weight": (_WIDTH, _WIDTH),
            f"{layer}.ln1.weight": (_WIDTH,),
            f"{layer}.ln2.weight": (_WIDTH,),
            f"{layer}.ffn_up.weight": (_WIDTH, _INNER),
            f"{layer}.ffn_down.weight": (_INNER, _WIDTH),
        }
    path.write_bytes(_encode(_describe(model_width), shapes))
    return path


def _describe(model_width: int) -> dict[str, Value]:
    vision: dict[str, Value] = {
        "image_size": 28,
        "patch_size": 14,
        "embedding_length": _WIDTH,
        "feed_forward_length": _INNER,
        "block_count": 2,
        "attention.head_count": 4,
        "attention.layer_norm_epsilon": 1e-5,
        "projection_dim": model_width,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    return {
        "general.architecture": "clip",
        "clip.projector_type": "mlp",
        "clip.has_vision_encoder": True,
        **{f"clip.vision.{name}": value for name, value in vision.items()},
    }


def _encode(fields: dict[str, Value], shapes: dict[str, tuple[int, ...]]) -> bytes:
    """Fields, the table of tensors, then their numbers: the same ones each time."""
    dice = random.Random(1)
    head = b"GGUF" + struct.pack("<IQQ", _VERSION, len(shapes), len(fields))
    for name, value in fields.items():
        head += _encode_text(name) + _encode_value(value)
    numbers = b""
    for name, shape in shapes.items():
        head += _encode_text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        head += struct.pack("<IQ", _TENSOR_FLOAT32, len(numbers))
        drawn = array("f", (dice.gauss(0, 0.02) for _ in range(prod(shape))))
        numbers += _align(drawn.tobytes())
    return _align(head) + numbers


def _encode_value(value: Value) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", _BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", _UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", _FLOAT32, value)
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _encode_text(value)
    return struct.pack(f"<IIQ{len(value)}f", _ARRAY, _FLOAT32, len(value), *value)


def _encode_text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode("ascii")


def _align(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)


def draw_png(red: int, green: int, blue: int) -> bytes:
    """A picture of 8 by 8 pixels in one colour."""
    rows = (b"\0" + bytes((red, green, blue)) * 8) * 8
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    )


def write_data_url(content: bytes, media_type: str = "image/png") -> str:
    """The content as an address that carries it."""
    return f"data:{media_type};base64,{b64encode(content).decode()}"
