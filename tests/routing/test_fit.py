from typing import Any

import msgspec
import pytest

from trunkline.call import Deadlines
from trunkline.chat import ChatRequest, ImageRef, TextRequest
from trunkline.errors import GatewayError
from trunkline.routing.fit import (
    OPENAI_CHAT,
    OPENAI_TEXT,
    SGP_CHAT,
    SGP_COMPLETION,
    ClientFormat,
    Fitted,
    Request,
)
from trunkline.routing.table import Columns, Route, Target
from trunkline.wire.mend import Stamp

LAB = Target("lab", "upstream/model")
CHAT_BODY = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
TEXT = TextRequest("m", "Hi", stream=False, temperature=0.2)
IMAGE = msgspec.structs.replace(TEXT, images=(ImageRef("https://e.test/a.png"),))


def fit(form: ClientFormat, request: Request, *, stand_in: bool = False, **columns: Any) -> Fitted:
    route = Route("m", (LAB,), Columns(**columns), Deadlines(), stand_in)
    return form.fit(request, route, LAB, Stamp("id", "m", 1))


def read_chat(**fields: object) -> Request:
    return SGP_CHAT.read(msgspec.json.encode({**CHAT_BODY, **fields}))


def write(fitted: Fitted) -> dict[str, Any]:
    sent = msgspec.json.decode(fitted.pair.write_request())
    assert isinstance(sent, dict)
    return sent


@pytest.mark.parametrize("kind", ["user_message", "raw"])
def test_the_models_prompt_mode_chooses_the_upstreams_format(kind: str) -> None:
    fitted = fit(SGP_COMPLETION, TEXT, prompt_mode=kind)
    path, field = {
        "user_message": ("/chat/completions", "messages"),
        "raw": ("/completions", "prompt"),
    }[kind]
    assert fitted.pair.path == path
    assert field in write(fitted)
    assert write(fitted)["model"] == "upstream/model"


@pytest.mark.parametrize(
    ("columns", "asked", "sent", "changes"),
    [
        ({}, None, None, ()),
        ({}, 7, 7, ()),
        ({"default_max_tokens": 50}, None, 50, ("defaulted:max_tokens=50",)),
        ({"default_max_tokens": 50}, 0, 0, ()),
        ({"prompt_mode": "raw"}, None, 100, ("defaulted:max_tokens=100",)),
        ({"prompt_mode": "raw"}, 7, 7, ()),
        (
            {"prompt_mode": "raw", "default_max_tokens": 50},
            None,
            50,
            ("defaulted:max_tokens=50",),
        ),
    ],
)
def test_a_default_of_max_tokens_is_told(
    columns: dict[str, Any], asked: int | None, sent: int | None, changes: tuple[str, ...]
) -> None:
    request = msgspec.structs.replace(TEXT, max_tokens=asked)
    fitted = fit(SGP_COMPLETION, request, **columns)
    assert write(fitted).get("max_tokens") == sent
    assert fitted.changes == changes


def test_what_raw_text_cannot_express_is_told() -> None:
    request = msgspec.structs.replace(TEXT, reasoning_effort="low", max_tokens=1)
    assert fit(SGP_COMPLETION, request).changes == ()
    assert write(fit(SGP_COMPLETION, request))["reasoning_effort"] == "low"
    raw = fit(SGP_COMPLETION, request, prompt_mode="raw")
    assert raw.changes == ("dropped:reasoning_effort",)
    assert "reasoning_effort" not in write(raw)


@pytest.mark.parametrize("columns", [{}, {"images": True}])
def test_images_go_to_models_that_may_take_them(columns: dict[str, Any]) -> None:
    content = write(fit(SGP_COMPLETION, IMAGE, **columns))["messages"][0]["content"]
    assert [part["type"] for part in content] == ["text", "image_url"]


@pytest.mark.parametrize("columns", [{"images": False}, {"prompt_mode": "raw"}])
def test_images_are_refused_where_they_cannot_be_seen(columns: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as caught:
        fit(SGP_COMPLETION, IMAGE, **columns)
    assert (caught.value.code, caught.value.param) == ("invalid_request", "images")
    assert fit(SGP_COMPLETION, TEXT, **columns)


@pytest.mark.parametrize("form", [SGP_CHAT, OPENAI_CHAT])
def test_chat_to_a_blind_model_is_refused_only_with_an_image(form: ClientFormat) -> None:
    part = {"type": "image_url", "image_url": {"url": "https://e.test/a.png"}}
    seeing = read_chat(messages=[{"role": "user", "content": [part]}])
    assert fit(form, seeing).changes == ()
    with pytest.raises(GatewayError) as caught:
        fit(form, seeing, images=False)
    assert (caught.value.code, caught.value.param) == ("invalid_request", "messages")
    for content in ("image_url", [{"type": "text", "text": "image_url"}], ["image_url"], None):
        talking = read_chat(messages=[{"role": "user", "content": content}])
        assert fit(form, talking, images=False).changes == ()


@pytest.mark.parametrize("form", [SGP_CHAT, OPENAI_CHAT])
def test_tools_are_dropped_for_a_model_without_and_that_is_told(form: ClientFormat) -> None:
    tools = {"tools": [{"type": "function"}], "parallel_tool_calls": True}
    asking = read_chat(**tools, tool_choice="auto")
    assert fit(form, asking).changes == ()
    fitted = fit(form, asking, tools=False)
    assert fitted.changes == ("dropped:tools",)
    assert write(fitted) == {**CHAT_BODY, "model": "upstream/model"}
    with pytest.raises(GatewayError) as caught:
        fit(form, read_chat(**tools, tool_choice="required"), tools=False)
    assert (caught.value.code, caught.value.param) == ("invalid_request", "tool_choice")
    assert fit(form, read_chat(), tools=False).changes == ()


@pytest.mark.parametrize("form", [SGP_COMPLETION, SGP_CHAT, OPENAI_CHAT, OPENAI_TEXT])
def test_a_stand_in_is_told(form: ClientFormat) -> None:
    request = TEXT if form is SGP_COMPLETION else read_chat()
    assert fit(form, request, stand_in=True).changes == ("stand_in",)
    assert fit(form, request).changes == ()


def test_a_native_answer_names_what_answered() -> None:
    body = {
        "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
        "id": "c1",
    }
    for stand_in in (True, False):
        fitted = fit(SGP_COMPLETION, TEXT, stand_in=stand_in)
        answer = msgspec.json.decode(fitted.pair.read_answer(msgspec.json.encode(body)).body)
        assert answer["completion"]["response_metadata"] == {
            "id": "c1",
            "model": "upstream/model",
            "provider": "lab",
            **({"stand_in": True} if stand_in else {}),
            "native_finish_reason": "stop",
        }


@pytest.mark.parametrize(("form", "end"), [(SGP_CHAT, b""), (OPENAI_CHAT, b"data: [DONE]\n\n")])
def test_only_openais_dialect_ends_with_done(form: ClientFormat, end: bytes) -> None:
    chunk = (
        b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
        b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
    )
    reply = fit(form, read_chat(stream=True)).pair.open_stream()
    frame = b"data: " + chunk + b"\n\n"
    assert reply.feed(frame) + reply.finish() == frame + end


def test_legacy_text_goes_to_the_legacy_route() -> None:
    request = OPENAI_TEXT.read(b'{"model":"m","prompt":"Hi"}')
    fitted = fit(OPENAI_TEXT, request)
    assert fitted.pair.path == "/completions"
    assert write(fitted) == {"model": "upstream/model", "prompt": "Hi"}


def test_formats_have_names_of_their_own() -> None:
    forms = (SGP_COMPLETION, SGP_CHAT, OPENAI_CHAT, OPENAI_TEXT)
    assert len({form.name for form in forms}) == 4


def test_a_format_fits_only_what_it_reads() -> None:
    chat = ChatRequest("m", b"{}", stream=False, include_usage=False)
    mismatches: list[tuple[ClientFormat, Request]] = [
        (SGP_COMPLETION, chat),
        (SGP_CHAT, TEXT),
        (OPENAI_TEXT, TEXT),
    ]
    for form, request in mismatches:
        with pytest.raises(TypeError):
            fit(form, request)
