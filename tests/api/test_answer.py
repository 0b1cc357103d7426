"""Every inference route through both doors: whole answers, streams, and errors as the contract."""

import json

import httpx
import pytest

from gateway import KEY, USAGE, RunningGateway
from scripted import ScriptedServer

CHAT = {"model": "model", "messages": [{"role": "user", "content": "hi"}]}
NATIVE_PATHS = [
    "/v4/completions",
    "/v3/completions",
    "/v2/completions",
    "/v4/v4/completions",
    "/public/v4/completions",
]
CHAT_PATHS = [
    "/v4/beta/chat/completions",
    "/v5/chat/completions",
    "/v1/chat/completions",
    "/public/v5/chat/completions",
]


def post(gateway: RunningGateway, path: str, body: object, **headers: str) -> httpx.Response:
    sent = gateway.headers | {name.replace("_", "-"): value for name, value in headers.items()}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(gateway.url + path, content=content, headers=sent, timeout=20)


def read_frames(response: httpx.Response) -> list[str]:
    assert response.text.endswith("\n\n")
    blocks = response.text.removesuffix("\n\n").split("\n\n")
    assert all(block.startswith("data: ") for block in blocks)
    return [block.removeprefix("data: ") for block in blocks]


@pytest.mark.parametrize("path", NATIVE_PATHS)
def test_native_answer(gateway: RunningGateway, path: str) -> None:
    response = post(gateway, path, {"model": "model", "prompt": "hi", "images": None})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-trunkline-target"] == "lab/upstream-model"
    assert response.headers["x-trunkline-attempts"] == "1"
    assert response.headers["x-request-id"].startswith("req_")
    assert int(response.headers["x-trunkline-overhead-us"]) >= 0
    assert "x-trunkline-changes" not in response.headers
    assert response.json() == {
        "completion": {
            "text": "Hello, world",
            "finish_reason": "stop",
            "response_metadata": {
                "id": "chatcmpl-up",
                "model": "upstream-model",
                "provider": "lab",
                "native_finish_reason": "stop",
            },
        },
        "token_usage": {"prompt": 7, "completion": 3, "total": 10},
    }


def test_native_stream_is_a_superset(gateway: RunningGateway) -> None:
    response = post(gateway, "/v4/completions", {"model": "model", "prompt": "", "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    chunks = [json.loads(frame) for frame in read_frames(response)]
    assert "".join(chunk["completion"]["text"] for chunk in chunks) == "Hello, world"
    assert [chunk["completions"] for chunk in chunks[:-1]] == [
        [[text, []]] for text in ("Hello", ", wor", "ld")
    ]
    for chunk in chunks[:-1]:
        assert chunk["token_usage"] is None
        assert chunk["finish_reason"] is chunk["completion"]["finish_reason"] is None
    last = chunks[-1]
    assert last["completion"]["finish_reason"] == last["finish_reason"] == "stop"
    assert last["token_usage"] == {"prompt": 7, "completion": 3, "total": 10}
    assert (last["prompt_tokens"], last["response_tokens"]) == (7, 3)


@pytest.mark.parametrize("path", CHAT_PATHS)
def test_chat_answer_is_forwarded_as_it_came(
    gateway: RunningGateway, upstream: ScriptedServer, path: str
) -> None:
    extra = {"web_search_options": {"a": [1, None]}, "top_k": 3, "stop": None}
    response = post(gateway, path, CHAT | extra)
    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == "Hello, world"
    asked = json.loads(upstream.requests[-1].body)
    assert asked == {
        **CHAT,
        "model": "upstream-model",
        "web_search_options": {"a": [1, None]},
        "top_k": 3,
    }
    assert upstream.requests[-1].headers["authorization"] == "Bearer sk-upstream-canary"
    assert "x-api-key" not in upstream.requests[-1].headers


@pytest.mark.parametrize("path", CHAT_PATHS)
@pytest.mark.parametrize("wants_usage", [False, True])
def test_chat_stream(gateway: RunningGateway, path: str, wants_usage: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if wants_usage else {}
    frames = read_frames(post(gateway, path, CHAT | {"stream": True} | options))
    done = path.endswith("/v1/chat/completions")
    assert ("[DONE]" in frames) == done
    chunks = [json.loads(frame) for frame in frames if frame != "[DONE]"]
    assert all(chunk["choices"] for chunk in chunks[:-1])
    if wants_usage:
        assert chunks.pop() == {**chunks[0], "choices": [], "usage": USAGE}
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == "Hello, world"
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [None] * 4 + ["stop"]


@pytest.mark.parametrize("stream", [False, True])
def test_legacy_text(gateway: RunningGateway, upstream: ScriptedServer, stream: bool) -> None:
    body = {"model": "model", "prompt": ["a"], "stream": stream, "best_of": 1}
    response = post(gateway, "/v1/completions", body)
    assert response.status_code == 200
    if stream:
        frames = read_frames(response)
        assert frames[-1] == "[DONE]"
        text = "".join(json.loads(f)["choices"][0]["text"] for f in frames[:-1])
    else:
        text = response.json()["choices"][0]["text"]
    assert text == "Hello, world"
    assert upstream.requests[-1].target == "/v1/completions"


def test_parameters_of_a_completion_reach_a_chat_upstream(
    gateway: RunningGateway, upstream: ScriptedServer
) -> None:
    parameters = {
        "temperature": 0,
        "max_tokens": 0,
        "stop_sequences": ["x"],
        "topP": 0.5,
        "top_k": 3,
        "frequency_penalty": -3,
        "presence_penalty": 1,
        "reasoning_effort": "low",
        "unknown": 1,
    }
    images = [{"image_url": "image_url", "detail": "detail"}, {"image_url": "https://x/y"}]
    body = {"model": "model", "prompt": "p", "model_parameters": parameters, "images": images}
    assert post(gateway, "/v4/completions", body).status_code == 200
    assert json.loads(upstream.requests[-1].body) == {
        "model": "upstream-model",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "p"},
                    {"type": "image_url", "image_url": {"url": "image_url", "detail": "detail"}},
                    {"type": "image_url", "image_url": {"url": "https://x/y", "detail": "auto"}},
                ],
            }
        ],
        "temperature": 0,
        "max_tokens": 0,
        "stop": ["x"],
        "top_p": 0.5,
        "top_k": 3,
        "frequency_penalty": -3,
        "presence_penalty": 1,
        "reasoning_effort": "low",
    }


def test_a_raw_prompt_goes_to_the_text_api(
    gateway: RunningGateway, upstream: ScriptedServer
) -> None:
    body = {"model": "raw", "prompt": "Once", "model_parameters": {"reasoning_effort": "low"}}
    response = post(gateway, "/v4/completions", body)
    assert response.json()["completion"]["text"] == "Hello, world"
    changes = response.headers["x-trunkline-changes"]
    assert changes == "dropped:reasoning_effort,defaulted:max_tokens=100"
    assert upstream.requests[-1].target == "/v1/completions"
    asked = json.loads(upstream.requests[-1].body)
    assert asked == {"model": "base-model", "prompt": "Once", "temperature": 0.2, "max_tokens": 100}


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "param"),
    [
        ("/v4/completions", b"", 422, "validation_error", None),
        ("/v4/completions", b"{", 422, "validation_error", None),
        ("/v4/completions", b"[]", 422, "validation_error", None),
        ("/v4/completions", b'"\xff"', 422, "validation_error", None),
        ("/v4/completions", b"[" * 100_000, 422, "validation_error", None),
        ("/v4/completions", {}, 422, "validation_error", "model"),
        ("/v4/completions", {"model": "model"}, 422, "validation_error", "prompt"),
        ("/v4/completions", {"model": "model", "prompt": ["a"]}, 422, "validation_error", "prompt"),
        ("/v4/completions", {"model": "nope", "prompt": "a"}, 404, "model_not_found", "model"),
        ("/v4/beta/chat/completions", {"model": "model"}, 422, "validation_error", "messages"),
        ("/v5/chat/completions", CHAT | {"temperature": 2.1}, 422, "validation_error", None),
        ("/v1/chat/completions", CHAT | {"stop": ["a"] * 5}, 400, "invalid_request", "stop"),
        ("/v1/chat/completions", CHAT | {"max_tokens": -1}, 422, "validation_error", "max_tokens"),
        ("/v1/chat/completions", CHAT | {"model": "x/y"}, 404, "model_not_found", "model"),
        ("/v1/chat/completions", CHAT | {"messages": []}, 422, "validation_error", "messages"),
        ("/v1/chat/completions", CHAT | {"messages": ["a"]}, 422, "validation_error", "messages"),
        ("/v1/completions", {"model": "model"}, 422, "validation_error", "prompt"),
    ],
)
def test_bad_input(
    gateway: RunningGateway, path: str, body: object, status: int, code: str, param: str | None
) -> None:
    response = post(gateway, path, body)
    assert response.status_code == status
    answer = response.json()
    assert set(answer) == {"detail", "error", "request_id"}
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert answer["error"]["code"] == code
    if param is not None:
        assert answer["error"]["param"] == param
    assert answer["error"]["message"]
    assert response.headers["x-request-id"] == answer["request_id"]
    if status == 422:
        for fault in answer["detail"]:
            assert set(fault) == {"loc", "msg", "type"}
            assert fault["loc"][0] == "body"
    else:
        assert answer["detail"] == answer["error"]["message"]


def test_every_fault_is_named(gateway: RunningGateway) -> None:
    body = {"prompt": 1, "model_parameters": {"temperature": 2, "stop_sequences": ["a"] * 5}}
    answer = post(gateway, "/v4/completions", body).json()
    assert [fault["loc"] for fault in answer["detail"]] == [
        ["body", "model"],
        ["body", "prompt"],
        ["body", "model_parameters", "temperature"],
    ]


def test_two_spellings_that_differ(gateway: RunningGateway) -> None:
    for parameters, status in (({"topK": 1, "top_k": 1}, 200), ({"topK": 1, "top_k": 2}, 422)):
        body = {"model": "model", "prompt": "a", "model_parameters": parameters}
        assert post(gateway, "/v4/completions", body).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"x-api-key": ""}, 401),
        ({"x-api-key": "wrong"}, 401),
        ({"x-api-key": "wrong", "authorization": f"Bearer {KEY}"}, 401),
        ({"x-api-key": KEY, "authorization": "Bearer wrong"}, 200),
        ({"authorization": f"Bearer {KEY}"}, 200),
        ({"authorization": "Basic TXkgQVBJIEtleTo="}, 200),
        ({"x-api-key": KEY, "x-selected-account-id": "account_id"}, 200),
        ({"x-api-key": KEY, "x-selected-account-id": "nobody's"}, 403),
    ],
)
def test_keys_and_accounts(gateway: RunningGateway, headers: dict[str, str], status: int) -> None:
    url = f"{gateway.url}/v4/completions"
    response = httpx.post(url, headers=headers, json={"model": "model", "prompt": "a"})
    assert response.status_code == status
    assert "wrong" not in response.text
    if status != 200:
        assert response.json()["error"]["code"] in {"invalid_api_key", "permission_denied"}


def test_a_body_account_must_be_allowed(gateway: RunningGateway) -> None:
    for account, status in (("account_id", 200), ("default", 200), ("nobody's", 403)):
        body = {"model": "model", "prompt": "a", "account_id": account}
        assert post(gateway, "/v4/completions", body).status_code == status


def test_unknown_routes_and_methods(gateway: RunningGateway) -> None:
    for method, path, status, code in (
        ("GET", "/v4/completions", 405, "method_not_allowed"),
        ("PUT", "/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/v4/completions/", 404, "route_not_found"),
        ("GET", "/", 404, "route_not_found"),
        ("POST", "/public", 404, "route_not_found"),
    ):
        response = httpx.request(method, gateway.url + path, headers=gateway.headers)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code), path
        if status == 405:
            assert response.headers["allow"]


def test_a_body_past_the_limit(gateway: RunningGateway) -> None:
    body = b'{"model": "model", "prompt": "' + b"a" * 20_000_001
    response = post(gateway, "/v4/completions", body)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"


def test_a_large_body_passes(gateway: RunningGateway, upstream: ScriptedServer) -> None:
    prompt = "ä" * 1_000_000
    response = post(gateway, "/v4/completions", {"model": "model", "prompt": prompt})
    assert response.status_code == 200
    assert json.loads(upstream.requests[-1].body)["messages"][0]["content"] == prompt


def test_models_health_and_readiness(gateway: RunningGateway) -> None:
    assert httpx.get(f"{gateway.url}/livez").json() == {"status": "ok"}
    assert httpx.get(f"{gateway.url}/public/readyz").json() == {"status": "ok", "reasons": {}}
    assert httpx.get(f"{gateway.url}/v1/models").status_code == 401
    models = httpx.get(f"{gateway.url}/v1/models", headers=gateway.headers).json()
    assert models["object"] == "list"
    assert {model["id"] for model in models["data"]} == {"model", "raw", "gpt-oss-120b"}
