"""What a client's dialect means for any target: defaults, images, stand-ins, ends of streams."""

from typing import Any

import msgspec
import pytest

from routing.fitting import CHAT, ENGINE, TOOL, Fit, at, fit, row
from trunkline.call import Deadlines
from trunkline.chat import ChatRequest, ImageRef, TextRequest
from trunkline.errors import GatewayError
from trunkline.routing.ask import Request
from trunkline.routing.fit import (
    OPENAI_CHAT,
    OPENAI_EMBEDDING,
    OPENAI_TEXT,
    SGP_CHAT,
    SGP_COMPLETION,
    ClientFormat,
    find_foreign_images,
    find_read_said,
)
from trunkline.routing.table import Columns, Route, Target
from trunkline.wire.template import TEMPLATES, TemplateName

TEXT = TextRequest("m", "Hi", stream=False, temperature=0.2)
IMAGE = msgspec.structs.replace(TEXT, images=(ImageRef("https://e.test/a.png"),))
PART = {"type": "image_url", "image_url": {"url": "https://e.test/a.png"}}
SEEING = CHAT | {"messages": [{"role": "user", "content": [PART]}]}
FORMS = (SGP_COMPLETION, SGP_CHAT, OPENAI_CHAT, OPENAI_TEXT, OPENAI_EMBEDDING)
BODIES: dict[str, dict[str, Any]] = {
    SGP_COMPLETION.name: {"model": "m", "prompt": "Hi"},
    SGP_CHAT.name: CHAT,
    OPENAI_CHAT.name: CHAT,
    OPENAI_TEXT.name: {"model": "m", "prompt": "Hi"},
    OPENAI_EMBEDDING.name: {"model": "m", "input": "Hi"},
}


@pytest.mark.parametrize(
    ("mode", "path", "field"),
    [("user_message", "/chat/completions", "messages"), ("raw", "/completions", "prompt")],
)
def test_the_models_prompt_mode_chooses_the_upstreams_format(
    mode: str, path: str, field: str
) -> None:
    fitted = fit(SGP_COMPLETION, TEXT, prompt_mode=mode)
    assert fitted.pair.path == path
    assert field in fitted.sent
    assert fitted.sent["model"] == "upstream/model"


def test_a_raw_prompt_becomes_a_message_where_there_is_no_text_api() -> None:
    fitted = fit(SGP_COMPLETION, TEXT, row(serves=("chat",)), prompt_mode="raw")
    assert fitted.pair.path == "/chat/completions"
    assert fitted.sent["messages"] == [{"role": "user", "content": "Hi"}]
    assert "max_tokens" not in fitted.sent
    assert fitted.words == ["renamed:prompt=messages"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_put_around_the_prompt(name: TemplateName) -> None:
    request = msgspec.structs.replace(TEXT, stop=("END",))
    fitted = fit(SGP_COMPLETION, request, prompt_mode=name)
    template = TEMPLATES[name]
    assert fitted.pair.path == "/completions"
    assert fitted.sent["prompt"] == f"{template.before}Hi{template.behind}"
    assert fitted.sent["stop"] == ["END", *template.stop]
    assert fitted.words == [f"template:{name}", "defaulted:max_tokens=100"]


def test_a_chat_api_applies_its_own_template() -> None:
    fitted = fit(SGP_COMPLETION, TEXT, row(serves=("chat",)), prompt_mode="llama-2")
    assert fitted.sent["messages"] == [{"role": "user", "content": "Hi"}]
    assert "stop" not in fitted.sent
    assert fitted.words == ["renamed:prompt=messages"]


@pytest.mark.parametrize(
    ("columns", "asked", "sent", "words"),
    [
        ({}, None, None, []),
        ({}, 7, 7, []),
        ({"default_max_tokens": 50}, None, 50, ["defaulted:max_tokens=50"]),
        ({"default_max_tokens": 50}, 0, 0, []),
        ({"prompt_mode": "raw"}, None, 100, ["defaulted:max_tokens=100"]),
        ({"prompt_mode": "raw"}, 7, 7, []),
        (
            {"prompt_mode": "raw", "default_max_tokens": 50},
            None,
            50,
            ["defaulted:max_tokens=50"],
        ),
    ],
)
def test_a_default_of_max_tokens_is_told(
    columns: dict[str, Any], asked: int | None, sent: int | None, words: list[str]
) -> None:
    request = msgspec.structs.replace(TEXT, max_tokens=asked)
    fitted = fit(SGP_COMPLETION, request, **columns)
    assert fitted.sent.get("max_tokens") == sent
    assert fitted.words == words


def test_what_raw_text_cannot_express_is_told() -> None:
    request = msgspec.structs.replace(TEXT, reasoning_effort="low", max_tokens=1)
    assert fit(SGP_COMPLETION, request).words == []
    assert fit(SGP_COMPLETION, request).sent["reasoning_effort"] == "low"
    raw = fit(SGP_COMPLETION, request, prompt_mode="raw")
    assert raw.words == ["dropped:reasoning_effort"]
    assert "reasoning_effort" not in raw.sent
    with pytest.raises(GatewayError) as caught:
        fit(SGP_COMPLETION, request, strict=True, prompt_mode="raw")
    assert (caught.value.status, caught.value.param) == (400, "reasoning_effort")


def test_a_model_of_fixed_sampling_is_sent_no_temperature() -> None:
    fitted = fit(SGP_COMPLETION, TEXT, fixed_sampling=True)
    assert "temperature" not in fitted.sent
    assert fitted.words == ["dropped:temperature"]
    # SGP's own default is no wish of the client's; the same value in the request is.
    prompt = {"model": "m", "prompt": "Hi"}
    assert fit(SGP_COMPLETION, prompt, strict=True, fixed_sampling=True).words == fitted.words
    asked = prompt | {"model_parameters": {"temperature": 0.2}}
    assert fit(SGP_COMPLETION, asked, fixed_sampling=True).words == fitted.words
    with pytest.raises(GatewayError) as caught:
        fit(SGP_COMPLETION, asked, strict=True, fixed_sampling=True)
    assert caught.value.param == "temperature"


@pytest.mark.parametrize("columns", [{}, {"images": True}])
def test_images_go_to_models_that_may_take_them(columns: dict[str, Any]) -> None:
    content = fit(SGP_COMPLETION, IMAGE, **columns).sent["messages"][0]["content"]
    assert [part["type"] for part in content] == ["text", "image_url"]


@pytest.mark.parametrize(
    ("target", "columns"),
    [
        (row(), {"images": False}),
        (row(), {"prompt_mode": "raw"}),
        (row(images="none"), {"images": True}),
    ],
)
def test_images_are_refused_where_they_cannot_be_seen(
    target: Target, columns: dict[str, Any]
) -> None:
    with pytest.raises(GatewayError) as caught:
        fit(SGP_COMPLETION, IMAGE, target, **columns)
    assert (caught.value.code, caught.value.param) == ("invalid_request", "images")
    assert fit(SGP_COMPLETION, TEXT, target, **columns).sent


@pytest.mark.parametrize("form", [SGP_CHAT, OPENAI_CHAT])
@pytest.mark.parametrize("target", [row(), row(images="none"), at("llm-engine")])
def test_chat_to_a_blind_model_is_refused_only_with_an_image(
    form: ClientFormat, target: Target
) -> None:
    blind = {"images": False}
    assert fit(form, SEEING).words == []
    with pytest.raises(GatewayError) as caught:
        fit(form, SEEING, target, **blind)
    assert (caught.value.code, caught.value.param) == ("invalid_request", "messages")
    for content in ("image_url", [{"type": "text", "text": "image_url"}], ["image_url"], None):
        talking = CHAT | {"messages": [{"role": "user", "content": content}]}
        assert fit(form, talking, target, **blind).words == []


@pytest.mark.parametrize("old", [b'"image_url":', b'"type":"image_url"', b"image_url"])
def test_an_image_is_seen_however_its_key_is_spelt(old: bytes) -> None:
    body = msgspec.json.encode(SEEING)
    assert old in body
    for letter, escape in ((b"_", rb"\u005f"), (b"_", rb"\u005F"), (b"i", rb"\u0069")):
        spelt = body.replace(old, old.replace(letter, escape, 1))
        request = OPENAI_CHAT.read(spelt)
        with pytest.raises(GatewayError, match="takes no images"):
            fit(OPENAI_CHAT, request, images=False)
        assert find_foreign(request, row(images="data")) == ["https://e.test/a.png"]


def find_foreign(request: Request, target: Target, **columns: Any) -> list[str]:
    route = Route("m", (target,), Columns(**columns), Deadlines())
    return find_foreign_images(request, route, target)


@pytest.mark.parametrize(
    ("target", "columns", "found"),
    [
        (row(images="data"), {}, True),
        (row(images="data"), {"images": True}, True),
        (ENGINE, {"images": True}, True),
        (row(images="url"), {}, False),
        (row(images="none"), {"images": True}, False),
        (row(images="data"), {"images": False}, False),
        (ENGINE, {"images": False}, False),
    ],
)
def test_images_are_fetched_only_for_who_takes_them_as_bytes(
    target: Target, columns: dict[str, Any], found: bool
) -> None:
    wanted = ["https://e.test/a.png"] if found else []
    assert find_foreign(SGP_CHAT.read(msgspec.json.encode(SEEING)), target, **columns) == wanted
    assert find_foreign(IMAGE, target, **columns) == wanted


def test_nothing_is_fetched_for_a_raw_prompt() -> None:
    assert find_foreign(IMAGE, row(images="data"), prompt_mode="raw") == []
    chat = row(images="data", serves=("chat",))
    assert find_foreign(IMAGE, chat, prompt_mode="raw") == ["https://e.test/a.png"]


@pytest.mark.parametrize("form", [OPENAI_TEXT, OPENAI_EMBEDDING])
@pytest.mark.parametrize("more", [{}, {"messages": 1}, {"messages": [1, {"content": ["x", 2]}]}])
def test_formats_without_images_may_speak_of_them(form: ClientFormat, more: dict[str, Any]) -> None:
    field = "prompt" if form is OPENAI_TEXT else "input"
    asked = {"model": "m", field: ["image_url"], **more}
    request = form.read(msgspec.json.encode(asked))
    assert find_foreign(request, row(images="data")) == []
    assert fit(form, request).sent[field] == ["image_url"]


@pytest.mark.parametrize("form", FORMS)
def test_a_stand_in_is_told(form: ClientFormat) -> None:
    body = BODIES[form.name]
    assert fit(form, body, stand_in=True).words == ["stand_in"]
    assert fit(form, body).words == []


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
    assert form.done == bool(end)
    reply = fit(form, CHAT | {"stream": True}).pair.open_stream()
    frame = b"data: " + chunk + b"\n\n"
    assert reply.feed(frame) + reply.finish() == frame + end


def test_an_engines_messages_hold_text_and_pictures_only() -> None:
    def show(*parts: dict[str, Any]) -> Fit:
        return fit(SGP_CHAT, CHAT | {"messages": [{"role": "user", "content": [*parts]}]}, ENGINE)

    text = {"type": "text", "text": "Hi"}
    assert show(text).sent["messages"][0]["content"] == [text]
    with pytest.raises(GatewayError, match=r"messages\[0\].content\[1\]: .* not 'video_url'"):
        show(text, {"type": "video_url", "video_url": {"url": "https://e.test/a"}})
    with pytest.raises(GatewayError, match="data URL"):
        show(PART)
    with pytest.raises(GatewayError, match=r"images\[0\].image_url: .*data URL"):
        fit(SGP_COMPLETION, IMAGE, ENGINE)


def test_formats_have_names_of_their_own() -> None:
    assert len({form.name for form in FORMS}) == len(FORMS)


def test_a_format_fits_only_what_it_reads() -> None:
    chat = ChatRequest("m", b"{}", stream=False, include_usage=False)
    mismatches: list[tuple[ClientFormat, Request]] = [
        (SGP_COMPLETION, chat),
        (SGP_CHAT, TEXT),
        (OPENAI_TEXT, TEXT),
        (OPENAI_EMBEDDING, TEXT),
    ]
    for form, request in mismatches:
        with pytest.raises((TypeError, AttributeError)):
            fit(form, request)


@pytest.mark.parametrize(
    ("target", "body", "message"),
    [
        (row(), {"error": {"message": "no", "code": "c"}}, "no"),
        (at("llm-engine"), {"error": {"message": "no"}}, "no"),
        (at("anthropic"), {"type": "error", "error": {"type": "t", "message": "no"}}, "no"),
        (at("gemini"), {"error": {"code": 400, "message": "no", "status": "S"}}, "no"),
    ],
)
def test_an_error_body_is_read_as_the_wire_says(
    target: Target, body: dict[str, Any], message: str
) -> None:
    assert find_read_said(target)(msgspec.json.encode(body), {}).message == message


@pytest.mark.parametrize("form", [SGP_CHAT, OPENAI_CHAT])
def test_what_is_changed_is_told_for_the_attempt_alone(form: ClientFormat) -> None:
    asked = CHAT | {"tools": [TOOL]}
    assert fit(form, asked, tools=False).words == ["dropped:tools"]
    assert fit(form, asked, tools=True).words == []
