"""Pictures by hand: no more of a file than its header, and what may stand before that."""

import struct
from base64 import b64encode


def write_png(width: int, height: int) -> bytes:
    """A PNG file's signature and first chunk."""
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + b"\x08\0\0\0\0"
    )


def write_gif(width: int, height: int, version: bytes = b"GIF89a") -> bytes:
    """A GIF file's header and logical screen."""
    return version + struct.pack("<HH", width, height) + b"\x80\0\0"


def write_bmp(width: int, height: int, header_bytes: int = 40) -> bytes:
    """A BMP file's header; a height below zero has its rows from top to bottom."""
    size = struct.pack("<HH" if header_bytes == 12 else "<ii", width, height)
    return b"BM" + bytes(12) + struct.pack("<I", header_bytes) + size + b"\1\0\x18\0" + bytes(24)


def write_jpeg(width: int, height: int, *before: bytes, frame: int = 0xC0) -> bytes:
    """A JPEG file up to its frame header, with other segments before that."""
    segments = b"".join(before)
    body = struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\1\x11\0"
    return b"\xff\xd8" + segments + b"\xff%c" % frame + body


def write_segment(kind: int, payload: bytes) -> bytes:
    """A JPEG segment."""
    return b"\xff%c" % kind + struct.pack(">H", len(payload) + 2) + payload


def write_webp() -> bytes:
    """A WebP file's start."""
    return b"RIFF\x1a\0\0\0WEBPVP8 " + bytes(18)


def write_url(data: bytes, media_type: str = "image/png") -> str:
    """A data URL."""
    return f"data:{media_type};base64,{b64encode(data).decode()}"
