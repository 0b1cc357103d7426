"""Images in requests: found by every spelling, replaced where they stood, measured by header."""

from base64 import b64encode
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.chat import ChatRequest, ImageRef, TextRequest
from trunkline.wire.image import (
    find_addresses,
    has_images,
    list_parts,
    may_hold,
    measure_base64,
    measure_image,
    read_data_url,
    replace_addresses,
)
from wire.picture import (
    write_bmp,
    write_gif,
    write_jpeg,
    write_png,
    write_segment,
    write_url,
    write_webp,
)

A, B = "https://e.test/a.png", "http://e.test/b.png"
SIZES = [(1, 1), (640, 480), (20_000, 20_000), (65_535, 1)]


def chat(*contents: Any) -> ChatRequest:
    messages = [{"role": "user", "content": content} for content in contents]
    body = msgspec.json.encode({"model": "m", "messages": messages})
    return ChatRequest("m", body, stream=False, include_usage=False)


def show(url: str, **more: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def test_addresses_are_found_once_each_in_order() -> None:
    data = write_url(b"x")
    request = chat("text", [show(B), {"type": "text", "text": A}, show(data)], [show(A), show(B)])
    assert find_addresses(request) == [B, A]
    assert has_images(request)
    text = TextRequest("m", A, stream=False, temperature=0, images=(ImageRef(A), ImageRef(data)))
    assert find_addresses(text) == [A]


def test_addresses_are_replaced_where_they_stood_and_nothing_else() -> None:
    request = chat([show(A, detail="low"), {"type": "text", "text": A}], [show(B)], A)
    replaced = replace_addresses(request, {A: "data:a"})
    assert replaced == chat(
        [show("data:a", detail="low"), {"type": "text", "text": A}], [show(B)], A
    )
    images = (ImageRef(A, "high"), ImageRef(B))
    text = TextRequest("m", A, stream=False, temperature=0, images=images)
    assert replace_addresses(text, {A: "data:a"}) == msgspec.structs.replace(
        text, images=(ImageRef("data:a", "high"), ImageRef(B))
    )


def test_an_address_without_an_object_around_it_counts_too() -> None:
    request = chat([{"type": "image_url", "image_url": A}])
    assert has_images(request)
    assert find_addresses(request) == [A]
    replaced = replace_addresses(request, {A: "data:a"})
    assert replaced == chat([{"type": "image_url", "image_url": "data:a"}])


@pytest.mark.parametrize(
    "spelt", [rb'"image\u005furl"', rb'"\u0069mage_url"', rb'"image_ur\u006C"']
)
@pytest.mark.parametrize("which", [0, 1])
def test_a_key_may_be_spelt_with_escapes(spelt: bytes, which: int) -> None:
    request = chat([show(A)])
    parts = request.body.split(b'"image_url"')
    assert len(parts) == 3
    parts[which : which + 2] = [parts[which] + spelt + parts[which + 1]]
    spelling = msgspec.structs.replace(request, body=b'"image_url"'.join(parts))
    assert msgspec.json.decode(spelling.body) == msgspec.json.decode(request.body)
    assert has_images(spelling)
    assert find_addresses(spelling) == [A]


@given(st.lists(st.sampled_from([*"image_url", '"', ":"]) | st.characters(), max_size=20))
def test_what_json_may_hold_is_never_overlooked(letters: list[str]) -> None:
    word = "image_url"
    for escaped in range(len(word) + 1):
        spelt = "".join(rf"\u{ord(char):04x}" for char in word[:escaped]) + word[escaped:]
        rest = msgspec.json.encode("".join(letters).encode("utf-8", "ignore").decode())
        assert may_hold(b'{"%b":%b}' % (spelt.encode(), rest), b'"image_url"')


@pytest.mark.parametrize(
    "content",
    [
        "image_url",
        None,
        7,
        ["image_url"],
        [{"type": "text", "text": "image_url"}],
        {"image_url": 1},
    ],
)
def test_what_only_speaks_of_images_shows_none(content: Any) -> None:
    request = chat(content)
    assert not has_images(request)
    assert find_addresses(request) == []
    assert replace_addresses(request, {}) == request


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": ["image_url"]},
        {"input": "image_url", "messages": None},
        {"prompt": "x", "messages": "image_url"},
        {"prompt": "x", "messages": [1, "image_url", {"content": [1]}, {}]},
    ],
)
def test_other_formats_have_no_messages_or_odd_ones(body: dict[str, Any]) -> None:
    request = ChatRequest("m", msgspec.json.encode(body), stream=False, include_usage=False)
    assert find_addresses(request) == []
    assert not has_images(request)


@pytest.mark.parametrize("image", [None, 7, [], {}, {"url": None}, {"url": 7}, "", "ftp://x/y"])
def test_an_image_without_an_address_is_an_image_all_the_same(image: Any) -> None:
    request = chat([{"type": "image_url", "image_url": image}])
    assert has_images(request)
    assert find_addresses(request) == []


def test_parts_have_places() -> None:
    request = chat("x", [show(A), "y", {"type": "text"}])
    assert [place for place, _ in list_parts(request.body)] == [
        "messages[1].content[0]",
        "messages[1].content[2]",
    ]


@pytest.mark.parametrize("size", SIZES)
def test_every_format_tells_its_size(size: tuple[int, int]) -> None:
    width, height = size
    thumbnail = write_jpeg(3, 2)
    files = [
        write_png(width, height),
        write_gif(width, height),
        write_gif(width, height, b"GIF87a"),
        write_bmp(width, height),
        write_bmp(width, -height),
        write_bmp(width, height, 124),
        write_bmp(width, height, 12),
        write_jpeg(width, height),
        write_jpeg(width, height, frame=0xC1),
        write_jpeg(width, height, frame=0xC2),
        # The thumbnail inside a camera's notes is not the picture.
        write_jpeg(width, height, write_segment(0xE1, b"Exif\0\0" + thumbnail)),
        write_jpeg(width, height, write_segment(0xE0, b"JFIF\0"), write_segment(0xDB, bytes(65))),
        write_jpeg(width, height, b"\xff\xff\xff" + write_segment(0xFE, b"\xff\xc0")[1:]),
        # Filling bytes between segments, which decoders skip.
        write_jpeg(width, height, write_segment(0xC4, b""), b"\0\0"),
    ]
    for data in files:
        assert measure_image(data) == size
        assert measure_image(data + b"\xff\xc0" * 20) == size
        assert measure_base64(b64encode(data)) == size
        assert measure_base64(b64encode(data).rstrip(b"=")) == size
        for length in range(len(data)):
            assert measure_image(data[:length]) in (None, size)


def test_a_jpeg_with_long_notes_is_read_to_its_frame() -> None:
    notes = [write_segment(0xE2, bytes(65_000)) for _ in range(10)]
    assert measure_base64(b64encode(write_jpeg(640, 480, *notes))) == (640, 480)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF",
        b"%PDF-1.7",
        b"ID3\x04" + bytes(40),
        b"RIFF\x1a\0\0\0WAVEfmt " + bytes(40),
        write_webp(),
        b"8BPS\0\1" + bytes(40),
        b"P6 1 1 255\n" + bytes(40),
        b"\0\0\0\x20ftypisom" + bytes(40),
        b"\x89PNG\r\n\x1a\n\0\0\0\x04CgBI" + write_png(1, 1)[8:],
        write_png(0, 5),
        write_gif(5, 0),
        write_bmp(5, 5, 41),
        write_jpeg(5, 0),
        write_jpeg(5, 5, frame=0xC3),
        write_jpeg(5, 5, frame=0xC9),
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff",
        b"\xff\xd8" + bytes(100),
    ],
)
def test_other_files_and_sizes_that_are_none_are_not_measured(data: bytes) -> None:
    assert measure_image(data) is None
    assert measure_base64(b64encode(data)) is None


@given(st.sampled_from([b"", b"\xff\xd8", b"BM", b"GIF89a", b"\x89PNG\r\n\x1a\n"]), st.binary())
def test_any_bytes_have_a_size_or_none(start: bytes, rest: bytes) -> None:
    for data in (start + rest, start + b"\xff" + rest):
        size = measure_image(data)
        assert size is None or min(size) > 0
        assert measure_base64(b64encode(data)) == size


def test_only_a_data_url_in_plain_base64_is_read() -> None:
    for data in (b"", b"a", b"ab", b"abc"):
        url = write_url(data)
        assert read_data_url(url) == url.partition(",")[2].encode()
        assert read_data_url(url.rstrip("=")) == url.rstrip("=").partition(",")[2].encode()
    assert read_data_url("data:image/svg+xml;charset=utf-8;base64,YQ==") == b"YQ=="
    for url in (
        "",
        "data:image/png;base64",
        "data:image/png,YQ==",
        "data:image/png;base64 ,YQ==",
        "data:text/html;base64,YQ==",
        "DATA:image/png;base64,YQ==",
        " data:image/png;base64,YQ==",
        "https://e.test/data:image/png;base64,YQ==",
        "data:image/png;base64,Y Q==",
        "data:image/png;base64,YQ==\n",
        "data:image/png;base64,YQ=Q",
        "data:image/png;base64,=YQ=",
        "data:image/png;base64,YQ===",
        "data:image/png;base64,Y-_Q",
        "data:image/png;base64,Yé==",
    ):
        assert read_data_url(url) is None
