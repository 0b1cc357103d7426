"""Compressed answer bodies, from upstreams that compress though nobody asked them to."""

import zlib
from typing import Final

_MAX_PIECE_BYTES: Final = 1 << 20
"""The most that one call returns, so that a small body that inflates to gigabytes cannot."""
_GZIP_OR_ZLIB: Final = zlib.MAX_WBITS | 32


class Inflater:
    """Turns the pieces of a gzip or zlib body into plain bytes, a bounded piece at a time.

    ``is_pending`` says that bytes already given wait for another call, ``is_complete`` that
    the compressed body has reached its end.
    """

    __slots__ = ("_decoder", "_rest")

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._rest = b""

    @property
    def is_pending(self) -> bool:
        """Whether ``inflate(b"")`` may give more without more input."""
        return bool(self._rest)

    @property
    def is_complete(self) -> bool:
        """Whether the end mark and checksum of the last member have been read."""
        return self._decoder.eof and not self._rest

    def inflate(self, data: bytes) -> bytes:
        """Decode as much of what has come as one piece may hold (1 MiB).

        Raises:
            zlib.error: these bytes are not what the header promised.
        """
        if self._decoder.eof and (self._rest or data):
            self._decoder = zlib.decompressobj(_GZIP_OR_ZLIB)  # the next member of a gzip file
        plain = self._decoder.decompress(self._rest + data, _MAX_PIECE_BYTES)
        self._rest = self._decoder.unconsumed_tail or self._decoder.unused_data
        return plain
