import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.providers.inflate import Inflater


def inflate_all(inflater: Inflater, pieces: list[bytes]) -> list[bytes]:
    plain = []
    for piece in pieces:
        plain.append(inflater.inflate(piece))
        while inflater.is_pending:
            plain.append(inflater.inflate(b""))
    return plain


@given(data=st.binary(max_size=500), more=st.binary(max_size=50), step=st.integers(1, 60))
def test_any_split_of_gzip_members_gives_the_same_bytes(
    data: bytes, more: bytes, step: int
) -> None:
    packed = gzip.compress(data) + gzip.compress(more)
    inflater = Inflater()
    pieces = [packed[i : i + step] for i in range(0, len(packed), step)]
    assert b"".join(inflate_all(inflater, pieces)) == data + more
    assert inflater.is_complete


def test_zlib_is_read_and_a_cut_is_noticed() -> None:
    packed = zlib.compress(b"hello" * 100)
    inflater = Inflater()
    inflate_all(inflater, [packed[:-1]])
    assert not inflater.is_complete
    inflate_all(inflater, [packed[-1:]])
    assert inflater.is_complete


def test_a_bomb_comes_out_in_bounded_pieces() -> None:
    inflater = Inflater()
    pieces = inflate_all(inflater, [gzip.compress(bytes(20 << 20))])
    assert sum(map(len, pieces)) == 20 << 20
    assert max(map(len, pieces)) <= 1 << 20


def test_bytes_that_are_not_compressed_are_refused() -> None:
    with pytest.raises(zlib.error):
        Inflater().inflate(b'{"not": "gzip"}')
