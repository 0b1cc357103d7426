import msgspec
import pytest

from trunkline.chat import TextRequest
from trunkline.errors import GatewayError
from trunkline.events import Finish, TextDelta, Usage
from trunkline.wire import openai_text
from trunkline.wire.body import read_fields
from trunkline.wire.openai_chat import write_request
from trunkline.wire.openai_text import TextPair, read_request, write_text_request
from wire.sample import TEXT_STREAMS, make_stamp, open_text, play, read_case, read_frames
from wire.strict import read_text, read_text_stream


def ask(**fields: object) -> bytes:
    return msgspec.json.encode({"model": "m", "prompt": "Hé", **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"prompt": ["a", "b"]},
        {"prompt": [1, 2]},
        {"prompt": [[1, 2], [3]]},
        {"prompt": ""},
        {"stop": ["a"] * 4, "suffix": "x", "user": "u", "echo": True},
        {"best_of": 0, "n": 0, "logprobs": 5, "max_tokens": 0, "seed": 1},
        {"logit_bias": {"50256": -100}, "top_p": 1, "temperature": 2},
        {"stop": None, "stream": None, "logprobs": None},
    ],
)
def test_what_the_contract_allows_is_accepted(fields: dict[str, object]) -> None:
    kept = {"model": "m", "prompt": "Hé", **fields}
    request = read_request(ask(**fields))
    assert {name: msgspec.json.decode(raw) for name, raw in read_fields(request.body).items()} == {
        name: value for name, value in kept.items() if value is not None
    }


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"prompt": None}, "validation_error", "prompt"),
        ({"prompt": 5}, "validation_error", "prompt"),
        ({"logprobs": 6}, "validation_error", "logprobs"),
        ({"logprobs": True}, "validation_error", "logprobs"),
        ({"max_tokens": -1}, "validation_error", "max_tokens"),
        ({"temperature": 3}, "validation_error", "temperature"),
        ({"stop": ["a"] * 5}, "invalid_request", "stop"),
        ({"n": 129}, "invalid_request", "n"),
        ({"best_of": 129}, "invalid_request", "best_of"),
    ],
)
def test_what_the_contract_forbids_is_refused(
    fields: dict[str, object], code: str, param: str
) -> None:
    with pytest.raises(GatewayError) as caught:
        read_request(ask(**fields))
    assert (caught.value.code, caught.value.param) == (code, param)


def test_a_completions_prompt_stays_raw() -> None:
    request = TextRequest("x", " Once\n", stream=True, temperature=0.2, max_tokens=9, top_k=4)
    body = write_text_request(request, "m")
    assert msgspec.json.decode(body) == {
        "model": "m",
        "prompt": " Once\n",
        "temperature": 0.2,
        "max_tokens": 9,
        "top_k": 4,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert read_request(body).include_usage


@pytest.mark.parametrize(
    "name", ["openai/text.json", "openai/text_logprobs.json", "llama_cpp/text.json"]
)
def test_a_good_answer_is_forwarded_byte_for_byte(name: str) -> None:
    body = read_case(name)
    request = read_request(ask())
    pair = TextPair(request, write_request(request, "m"), make_stamp())
    answer = pair.read_answer(body)
    assert answer.body is body
    assert answer.usage is not None
    assert answer.finish_reason == read_text(body).choices[0].finish_reason
    assert pair.path == "/completions"
    assert msgspec.json.decode(pair.write_request())["model"] == "m"


@pytest.mark.parametrize("name", TEXT_STREAMS)
def test_a_stream_passes_openais_client(name: str) -> None:
    out = play(open_text(include_usage=True), read_case(name))
    frames = list(read_frames(out))
    assert frames[-1] == "[DONE]"
    chunks = read_text_stream(out)
    assert len(chunks) == len(frames) - 1
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] in {
        "stop",
        "length",
    }
    assert any(chunk.usage for chunk in chunks)


def test_only_text_commits_to_an_answer() -> None:
    reply = open_text()
    chunk = msgspec.json.decode(read_case("openai/text.json"))
    for text, seen in (("", False), ("a", True)):
        chunk["choices"][0].update(text=text, finish_reason=None)
        reply.feed(b"data: " + msgspec.json.encode(chunk) + b"\n\n")
        assert reply.content_seen is seen


def test_a_chunk_is_read_as_events() -> None:
    chunk = msgspec.json.decode(read_case("openai/text.json"))
    chunk["choices"][0].update(text="a", finish_reason="eos")
    assert openai_text.read_events(msgspec.json.encode(chunk), make_stamp()) == [
        TextDelta("a"),
        Finish("stop", "eos"),
        Usage(5, 7, 12),
    ]
    chunk["choices"] = []
    assert openai_text.read_events(msgspec.json.encode(chunk), make_stamp()) == [Usage(5, 7, 12)]


def test_a_whole_answer_is_read_for_a_completion() -> None:
    answered = openai_text.read_whole(read_case("llama_cpp/text.json"), make_stamp())
    assert answered.text == " a canvas of endless possibilities,"
    assert (answered.finish_reason, answered.native_reason) == ("length", "length")
    chunk = msgspec.json.decode(read_case("openai/text.json"))
    chunk["choices"][0]["finish_reason"] = None
    with pytest.raises(GatewayError, match="does not say why"):
        openai_text.read_whole(msgspec.json.encode(chunk), make_stamp())
    with pytest.raises(GatewayError, match="no choices"):
        openai_text.read_whole(msgspec.json.encode({**chunk, "choices": []}), make_stamp())
