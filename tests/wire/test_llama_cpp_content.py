"""What an engine of ours is shown: texts, and pictures of formats and sizes that it can take."""

from typing import Any

import msgspec
import pytest

from trunkline.chat import ChatRequest, ImageRef, TextRequest
from trunkline.errors import GatewayError
from trunkline.wire.llama_cpp_content import PIXEL_LIMIT, TOTAL_PIXEL_LIMIT, check_content
from wire.picture import write_bmp, write_gif, write_jpeg, write_png, write_url, write_webp

TEXT = {"type": "text", "text": "Hi"}


def chat(*parts: Any) -> ChatRequest:
    messages = [{"role": "system", "content": "x"}, {"role": "user", "content": [*parts]}]
    body = msgspec.json.encode({"model": "m", "messages": messages})
    return ChatRequest("m", body, stream=False, include_usage=False)


def prompt(*urls: str) -> TextRequest:
    images = tuple(map(ImageRef, urls))
    return TextRequest("m", "Hi", stream=False, temperature=0, images=images)


def show(data: bytes, media_type: str = "image/png") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": write_url(data, media_type)}}


def refuse(request: ChatRequest | TextRequest) -> str:
    with pytest.raises(GatewayError) as caught:
        check_content(request)
    assert (caught.value.code, caught.value.status) == ("invalid_request", 400)
    field = "images" if isinstance(request, TextRequest) else "messages"
    assert caught.value.param == field
    return caught.value.message


def test_text_and_pictures_pass() -> None:
    files = [write_png(9, 9), write_gif(9, 9), write_bmp(9, 9), write_jpeg(9, 9)]
    # The type that a URL claims is not what the engine goes by.
    check_content(chat(TEXT, *map(show, files)))
    check_content(prompt(*map(write_url, files)))
    check_content(chat())
    check_content(prompt())


@pytest.mark.parametrize("content", ["x", None, '"type": "video_url"', 5, {"type": "video_url"}])
def test_content_that_is_no_list_of_parts_passes(content: Any) -> None:
    body = msgspec.json.encode({"messages": [{"role": "user", "content": content}], "type": 1})
    check_content(ChatRequest("m", body, stream=False, include_usage=False))


@pytest.mark.parametrize(
    "part",
    [
        {"type": "video_url", "video_url": {"url": "https://e.test/a.mp4"}},
        {"type": "input_video", "input_video": {"data": "AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "audio_url", "audio_url": {"url": "https://e.test/a.wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
        {"type": "Text", "text": "Hi"},
        {"type": "", "text": "Hi"},
    ],
)
def test_any_other_part_is_named(part: dict[str, Any]) -> None:
    told = refuse(chat(TEXT, part))
    assert told == (
        "messages[1].content[1]: this model takes parts of type text and image_url, not "
        f"'{part['type']}'."
    )


@pytest.mark.parametrize("kind", [None, 7, ["text"], {}])
def test_a_part_without_a_type_is_none(kind: Any) -> None:
    assert refuse(chat({"type": kind, "text": "Hi"})).endswith("not one without.")


def test_a_parts_type_is_seen_however_it_is_spelt() -> None:
    body = chat({"type": "video_url"}).body
    for old, new in ((b'"type"', rb'"typ\u0065"'), (b"video_url", rb"vid\u0065o_url")):
        spelt = msgspec.structs.replace(chat(), body=body.replace(old, new))
        assert spelt.body != body
        assert "'video_url'" in refuse(spelt)


def test_a_long_type_is_cut() -> None:
    assert len(refuse(chat({"type": "x" * 10_000}))) < 400


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file:///etc/passwd",
        "HTTP://e.test/a.png",
        "http:e.test",
        "https://e.test/a.png",
        "//e.test/a.png",
        "data:image/png,AAAA",
        "data:image/png;base64,AA AA",
        "data:video/mp4;base64,AAAA",
        None,
        7,
    ],
)
def test_a_picture_is_data_or_refused(url: Any) -> None:
    told = refuse(chat({"type": "image_url", "image_url": {"url": url}}))
    assert told.startswith("messages[1].content[0].image_url.url: expected an http(s) address")
    if isinstance(url, str):
        assert refuse(prompt(write_url(write_png(1, 1)), url)).startswith("images[1].image_url: ")


@pytest.mark.parametrize("image", ["https://e.test/a.png", None, [], write_url(write_png(1, 1))])
def test_a_picture_without_its_object_is_refused(image: Any) -> None:
    refuse(chat({"type": "image_url", "image_url": image}))


@pytest.mark.parametrize(
    "data", [write_webp(), b"%PDF-1.7", b"", b"RIFF\0\0\0\0WAVEfmt ", b"\0" * 99]
)
def test_files_that_the_engine_would_need_help_with_are_refused(data: bytes) -> None:
    for media_type in ("image/webp", "image/png"):
        assert refuse(chat(show(data, media_type))).endswith(
            "expected a PNG, JPEG, GIF or BMP file."
        )
    assert "images[0].image_url" in refuse(prompt(write_url(data)))


@pytest.mark.parametrize("write", [write_png, write_gif, write_bmp, write_jpeg])
def test_a_picture_of_too_many_pixels_is_refused(write: Any) -> None:
    assert PIXEL_LIMIT == 40_000_000
    check_content(chat(show(write(8000, 5000))))
    told = refuse(chat(show(write(8000, 5001))))
    assert "8000 x 5001 pixels" in told
    assert "40 megapixels" in told
    assert "images[0].image_url" in refuse(prompt(write_url(write(20_000, 20_000))))


def test_pictures_of_too_many_pixels_together_are_refused() -> None:
    one = write_png(8000, 5000)
    most = TOTAL_PIXEL_LIMIT // PIXEL_LIMIT
    check_content(chat(*[show(one)] * most))
    check_content(prompt(*[write_url(one)] * most))
    for request in (
        chat(*[show(one)] * most, show(write_png(1, 1))),
        prompt(*[write_url(one)] * most, write_url(write_png(1, 1))),
    ):
        assert f"{TOTAL_PIXEL_LIMIT // 1_000_000} megapixels together" in refuse(request)
