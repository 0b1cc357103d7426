"""Every official client against the model in the package, as ``trunkline serve`` offers it."""

from typing import Any, Literal

import openai
import pydantic
import pytest
import scale_gp
import scale_gp_beta
from openai.types.chat import ChatCompletion

from sdk.client import (
    CHAT,
    NATIVE,
    Line,
    Reply,
    ask_v4,
    ask_v4_native,
    ask_v5,
    open_openai,
    open_v4,
    read_chat,
    read_native,
)

pytestmark = pytest.mark.model

MODEL = "local/smollm2"
SYSTEM = {"role": "system", "content": "You answer in one short sentence."}
USER = {"role": "user", "content": "What is the capital of France?"}
# Like the question above, one to which the model knows its answer: no other token comes near,
# so that rounding, which differs with what the engine has in its cache, decides nothing.
PROMPT = "Count from 1 to 20."
GREEDY = {"temperature": 0, "seed": 1, "max_tokens": 8}
CHAT_GIVEN: dict[str, Any] = {"model": MODEL, "messages": [SYSTEM, USER], **GREEDY}
NATIVE_GIVEN: dict[str, Any] = {
    "model": MODEL,
    "prompt": PROMPT,
    "model_parameters": {"temperature": 0, "max_tokens": 8},
}
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def chat(line: Line, *, stream: bool = False, **given: Any) -> Reply:
    return read_chat(CHAT["openai /v1"](line, CHAT_GIVEN | given, stream), stream)


def complete(line: Line, *, stream: bool = False, **parameters: Any) -> Reply:
    given = {**NATIVE_GIVEN, "model_parameters": NATIVE_GIVEN["model_parameters"] | parameters}
    return read_native(ask_v4_native(line, given, stream))


@pytest.fixture(scope="module")
def greedy_chat(demo: Line) -> Reply:
    """What every chat client must get."""
    return check_counts(chat(demo))


@pytest.fixture(scope="module")
def greedy_native(demo: Line) -> Reply:
    """What every client of the native route must get."""
    return check_counts(complete(demo))


def check_counts(reply: Reply) -> Reply:
    assert reply.usage is not None
    prompt, answer, total = reply.usage
    assert prompt > answer > 0
    assert total == prompt + answer
    return reply


@STREAM
@pytest.mark.parametrize("client", CHAT)
def test_chat(demo: Line, greedy_chat: Reply, client: str, stream: bool) -> None:
    reply = read_chat(CHAT[client](demo, CHAT_GIVEN, stream), stream)
    assert reply.text == greedy_chat.text != ""
    assert reply.finish_reason == greedy_chat.finish_reason
    assert reply.usage == (None if stream else greedy_chat.usage)
    assert (reply.pieces > 3) == stream


@STREAM
@pytest.mark.parametrize("client", NATIVE)
def test_native(demo: Line, greedy_native: Reply, client: str, stream: bool) -> None:
    reply = read_native(NATIVE[client](demo, NATIVE_GIVEN, stream))
    assert reply.text == greedy_native.text != ""
    assert (reply.finish_reason, reply.usage) == (
        greedy_native.finish_reason,
        greedy_native.usage,
    )
    assert (reply.pieces > 3) == stream


def test_the_reference_page_example(demo: Line) -> None:
    """Word for word, but for a limit: how long a model talks about nothing is up to it."""
    with open_v4(demo) as client:
        answer = client.completions.create(
            model="gpt-oss-120b", prompt="prompt", model_parameters={"max_tokens": 8}
        )
        assert answer.completion.text
        assert answer.completion.response_metadata is not None
        assert answer.completion.response_metadata["stand_in"] is True
        raw = client.completions.with_raw_response.create(
            model="gpt-oss-120b", prompt="prompt", model_parameters={"max_tokens": 1}
        )
        assert raw.headers["x-trunkline-target"] == "local/smollm2-135m-instruct"
        assert raw.headers["x-trunkline-changes"] == "stand_in"
        with client.completions.create(
            model="gpt-oss-120b", prompt="prompt", stream=True
        ) as chunks:
            assert next(iter(chunks)).completions


PROMPTS = [PROMPT, "Name the planets in order.", "Repeat: 東京 🚄 東京 🚄 東京 🚄"]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_stream_says_what_the_whole_answer_says(demo: Line, prompt: str) -> None:
    native = NATIVE_GIVEN | {
        "prompt": prompt,
        "model_parameters": {"temperature": 0, "max_tokens": 24},
    }
    messages = [{"role": "user", "content": prompt}]
    talk = CHAT_GIVEN | {"messages": messages, "max_tokens": 24}
    texts = [read_native(ask_v4_native(demo, native, stream)).text for stream in (False, True)]
    for ask in (ask_v4, ask_v5, CHAT["openai /v1"]):
        texts += [read_chat(ask(demo, talk, stream), stream).text for stream in (False, True)]
    assert texts == [texts[0]] * len(texts)
    assert texts[0]


def test_a_system_prompt_is_heard(demo: Line, greedy_native: Reply) -> None:
    pirate = {"role": "system", "content": "You are a pirate who talks of nothing but the sea."}
    question = {"role": "user", "content": "Who are you?"}
    answers = [chat(demo, messages=[*first, question]) for first in ([], [SYSTEM], [pirate])]
    assert len({answer.text for answer in answers}) == len(answers)
    # Without one, chat and completion are the same question.
    assert chat(demo, messages=[{"role": "user", "content": PROMPT}]).text == greedy_native.text


@STREAM
def test_stop(demo: Line, greedy_chat: Reply, greedy_native: Reply, stream: bool) -> None:
    for plain, ask, name in (
        (greedy_chat, chat, "stop"),
        (greedy_native, complete, "stop_sequences"),
    ):
        word = plain.text[-4:]
        reply = ask(demo, stream=stream, **{name: ["never said", word]})
        assert reply.text == plain.text.partition(word)[0]
        assert reply.finish_reason == "stop"


def test_limits_of_length(demo: Line, greedy_chat: Reply) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        given: dict[str, Any] = {"max_tokens": openai.omit} | {name: 2}
        reply = chat(demo, **given)
        assert greedy_chat.text.startswith(reply.text)
        assert reply.finish_reason == "length"
        assert reply.usage is not None
        assert reply.usage[1] == 2


def test_seed(demo: Line) -> None:
    messages = [{"role": "user", "content": "Think of any word."}]
    hot: dict[str, Any] = {"temperature": 2, "max_tokens": 8, "messages": messages}
    texts = [chat(demo, **hot, seed=seed).text for seed in (7, 7, 7, 8, 9)]
    assert texts[1] == texts[2]
    assert len(set(texts)) > 1


def test_top_k_and_top_p(demo: Line, greedy_chat: Reply, greedy_native: Reply) -> None:
    hot: dict[str, Any] = {"temperature": 1}
    assert chat(demo, **hot, top_p=0).text == greedy_chat.text
    assert chat(demo, **hot, extra_body={"top_k": 1}).text == greedy_chat.text
    for ask in (ask_v4, ask_v5):
        reply = read_chat(ask(demo, CHAT_GIVEN | hot | {"top_k": 1}, False), False)
        assert reply.text == greedy_chat.text
    for narrow in ({"top_k": 1}, {"topK": 1}, {"top_p": 0}, {"topP": 0}):
        assert complete(demo, **hot | narrow).text == greedy_native.text


def ask_openai(line: Line, **given: Any) -> ChatCompletion:
    with open_openai(line) as client:
        answer: ChatCompletion = client.chat.completions.create(**(CHAT_GIVEN | given))
    return answer


def test_logprobs_and_logit_bias(demo: Line, greedy_chat: Reply) -> None:
    answer = ask_openai(demo, logprobs=True, top_logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert "".join(token.token for token in logprobs.content) == greedy_chat.text
    for token in logprobs.content:
        assert len(token.top_logprobs) == 2
        assert token.top_logprobs[0].logprob == token.logprob <= 0
    first: Any = logprobs.content[0]
    biased = chat(demo, logit_bias={str(first.id): -100})
    assert not biased.text.startswith(greedy_chat.text)
    chunks = CHAT["scale-gp-beta"](demo, CHAT_GIVEN | {"logprobs": True, "top_logprobs": 1}, True)
    told = [token.token for one in chunks for token in _tokens(one.choices[0])]
    assert "".join(told) == greedy_chat.text


def _tokens(choice: Any) -> list[Any]:
    return (choice.logprobs and choice.logprobs.content) or []


@STREAM
def test_two_choices(demo: Line, stream: bool) -> None:
    answers = CHAT["openai /v1"](demo, CHAT_GIVEN | {"n": 2, "temperature": 1.5}, stream)
    choices = [choice for one in answers for choice in one.choices]
    for index in (0, 1):
        own = [choice for choice in choices if choice.index == index]
        parts = [choice.delta if stream else choice.message for choice in own]
        assert "".join(part.content or "" for part in parts)
        assert [choice.finish_reason for choice in own if choice.finish_reason] == ["length"]


@pytest.mark.parametrize("name", ["frequency_penalty", "presence_penalty"])
def test_penalties(demo: Line, name: str) -> None:
    babble = "Repeat: tea tea tea tea tea tea tea"
    talk = CHAT_GIVEN | {"messages": [{"role": "user", "content": babble}], "max_tokens": 24}
    plain = read_chat(ask_v5(demo, talk, False), False).text
    assert read_chat(ask_v5(demo, talk | {name: 2}, False), False).text != plain
    for penalty, is_plain in ((0, True), (2, False)):
        parameters = {"temperature": 0, "max_tokens": 24, name: penalty}
        native = {"model": MODEL, "prompt": babble, "model_parameters": parameters}
        assert (read_native(ask_v4_native(demo, native, False)).text == plain) == is_plain


def test_usage_of_a_stream(demo: Line, greedy_chat: Reply) -> None:
    reply = chat(demo, stream=True, stream_options={"include_usage": True})
    assert reply == Reply(
        greedy_chat.text, greedy_chat.finish_reason, greedy_chat.usage, reply.pieces
    )


class Paint(pydantic.BaseModel):
    """An answer short enough for a small model."""

    model_config = pydantic.ConfigDict(extra="forbid")

    colour: Literal["teal", "ochre"]
    glossy: bool


def test_answers_by_a_schema(demo: Line) -> None:
    asked = [{"role": "user", "content": "Choose a paint. Answer in JSON."}]
    given = CHAT_GIVEN | {"messages": asked, "max_tokens": 60}
    with open_openai(demo) as client:
        parsed = client.chat.completions.parse(**given, response_format=Paint)
        assert isinstance(parsed.choices[0].message.parsed, Paint)
    schema = {"name": "Paint", "schema": Paint.model_json_schema(), "strict": True}
    as_dict = {"response_format": {"type": "json_schema", "json_schema": schema}}
    for stream in (False, True):
        # v4 takes the class itself, v5 the dict.
        for ask, form in ((ask_v4, {"response_format": Paint}), (ask_v5, as_dict)):
            reply = read_chat(ask(demo, given | form, stream), stream)
            assert Paint.model_validate_json(reply.text)
            assert reply.finish_reason == "stop"


TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@STREAM
@pytest.mark.parametrize("client", ["scale-gp", "scale-gp-beta", "openai /v1"])
def test_tools_are_accepted(demo: Line, client: str, stream: bool) -> None:
    """The small model's template has no place for tools; it answers in words."""
    reply = read_chat(CHAT[client](demo, CHAT_GIVEN | {"tools": [TOOL]}, stream), stream)
    assert reply.text


LONG = "word " * 5000
OVERFLOW = "This model's maximum context length is 4096 tokens. The prompt has 50"


@STREAM
@pytest.mark.parametrize("client", CHAT)
def test_an_overlong_chat(demo: Line, client: str, stream: bool) -> None:
    given = CHAT_GIVEN | {"messages": [{"role": "user", "content": LONG}]}
    refused = (scale_gp.BadRequestError, scale_gp_beta.BadRequestError, openai.BadRequestError)
    with pytest.raises(refused, match=OVERFLOW) as caught:
        CHAT[client](demo, given, stream)
    if isinstance(caught.value, openai.BadRequestError):
        assert caught.value.code == "context_length_exceeded"


@STREAM
def test_an_overlong_completion(demo: Line, stream: bool) -> None:
    with pytest.raises(scale_gp.BadRequestError, match=OVERFLOW):
        ask_v4_native(demo, NATIVE_GIVEN | {"prompt": LONG}, stream)
