from typing import Any

import msgspec
import pytest
from hypothesis import given

from trunkline.errors import GatewayError
from trunkline.events import Usage
from trunkline.wire.openai_embedding import EmbeddingPair, read_request
from wire.sample import any_json, make_stamp, may_fail, patch, read_case, some_examples
from wire.strict import open_openai

GOOD = msgspec.json.decode(read_case("openai/embedding.json"))
ASKED = {"model": "openai/e", "input": ["Hé", "b"]}


def read(answer: Any) -> tuple[Any, Usage | None]:
    body = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
    read = EmbeddingPair(b"{}", make_stamp(), "/embeddings").read_answer(body)
    assert read.finish_reason is None
    return msgspec.json.decode(read.body), read.usage


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"input": "Hé"},
        {"input": ""},
        {"input": [1, 2]},
        {"input": [[1, 2], [3]]},
        {"input": ["a"] * 2048},
        {"dimensions": 1, "encoding_format": "base64", "user": "u", "made_up": {"x": 1}},
        {"dimensions": None, "encoding_format": None},
    ],
)
def test_what_the_reference_allows_is_kept_as_it_came(fields: dict[str, Any]) -> None:
    body = msgspec.json.encode({**ASKED, **fields})
    request = read_request(body)
    assert (request.model, request.body, request.stream) == ("openai/e", body, False)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": 5}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"user": 5}, "user"),
    ],
)
def test_what_the_reference_forbids_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_request(msgspec.json.encode({**ASKED, **fields}))
    assert (caught.value.code, caught.value.param) == ("validation_error", param)


def test_a_pair_passes_the_request_on() -> None:
    pair = EmbeddingPair(b'{"model":"e"}', make_stamp(), "/deployments/e/embeddings")
    assert pair.write_request() == b'{"model":"e"}'
    assert pair.path == "/deployments/e/embeddings"
    assert pair.open_fold() is None  # type: ignore[func-returns-value]
    with pytest.raises(NotImplementedError):
        pair.open_stream()


@pytest.mark.parametrize("vector", [[0.5, -1, 2e-3], "AAAAPwAAgL8="])
def test_a_good_answer_is_forwarded_byte_for_byte(vector: Any) -> None:
    body = msgspec.json.encode(patch(GOOD, "data.1.embedding", vector))
    answer = EmbeddingPair(b"{}", make_stamp(), "/embeddings").read_answer(body)
    assert answer.body is body
    assert answer.usage == Usage(8, 0, 8)


def test_an_answer_passes_openais_client() -> None:
    body = EmbeddingPair(b"{}", make_stamp(), "/embeddings").read_answer(msgspec.json.encode(GOOD))
    client = open_openai(body.body)
    seen = client.embeddings.create(model="e", input=["a", "b"], encoding_format="float")
    assert [each.index for each in seen.data] == [0, 1]
    assert seen.data[1].embedding == [-0.5, 0.25, 1]
    assert seen.usage.total_tokens == 8


@pytest.mark.parametrize(
    ("path", "bad", "mended"),
    [
        ("object", ..., "list"),
        ("object", "embeddings", "list"),
        ("model", ..., "asked/model"),
        ("model", None, "asked/model"),
        ("data.0.object", ..., "embedding"),
        ("data.1.index", ..., 1),
        ("data.1.index", None, 1),
        ("usage.prompt_tokens", ..., 8),
        ("usage.prompt_tokens", "many", 8),
        ("usage.total_tokens", ..., 8),
        ("usage", {}, ...),
        ("usage", "none", ...),
        ("usage", {"prompt_tokens": "many"}, ...),
    ],
)
def test_what_a_server_left_out_is_mended(path: str, bad: Any, mended: Any) -> None:
    answer, usage = read(patch(GOOD, path, bad))
    assert answer == patch(GOOD, path, mended)
    assert usage == (None if path == "usage" else Usage(8, 0, 8))


def test_what_is_counted_is_the_prompt() -> None:
    assert read(patch(GOOD, "usage.total_tokens", 0))[1] == Usage(8, 0, 8)
    assert read(patch(GOOD, "usage", None))[1] is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"<html>",
        b'{"error":{"message":"sk-secret"}}',
        b'{"object":"list","data":{}}',
        b'{"object":"list","data":[1],"model":"m"}',
        b'{"object":"list","data":[{"index":0,"object":"embedding"}],"model":"m"}',
        b'{"object":"list","data":[{"embedding":["x"]}],"model":"m"}',
    ],
)
def test_what_is_no_answer_is_an_upstream_error(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        read(body)
    assert caught.value.code == "upstream_error"
    assert "sk-secret" not in caught.value.message


@some_examples
@given(any_json)
def test_any_json_is_read_or_refused(value: Any) -> None:
    for answer in (value, {**GOOD, "data": value}, {**GOOD, "usage": value}):
        with may_fail("upstream_error"):
            assert read(answer)[0]["object"] == "list"
