"""A real gateway before the mock, a real client before the gateway: every dialect, faults and all.

The gateway's readers were written without the mock and the mock without them: where both agree,
both are as the vendors say.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import openai
import pytest

from gateway import KEY, run_gateway
from mocking import DIALECTS, PROMPT, SAID, run_mock
from trunkline.mock import FAULTS, Fault, MockServer
from trunkline.mock.behaviour import Dialect

PROVIDERS = """
[routing]
retries = 0

[providers.openai]
base_url = "{url}/v1"
api_key = "env:LAB_KEY"

[providers.anthropic]
base_url = "{url}/v1"
api_key = "env:LAB_KEY"

[providers.gemini]
base_url = "{url}/v1beta"
api_key = "env:LAB_KEY"

[providers.bedrock]
base_url = "{url}"
region = "us-west-2"
access_key = "AKIDCANARY"
secret_key = "env:LAB_KEY"

[providers.cohere]
base_url = "{url}/v2"
api_key = "env:LAB_KEY"

[providers.llm-engine]
base_url = "{url}"
api_key = "env:LAB_KEY"

[models.raw-llm-engine]
targets = [{{ provider = "llm-engine", model = "m" }}]
prompt_mode = "raw"
"""
ASKED: Any = [{"role": "user", "content": PROMPT}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]

# What stands for the rest: each way to fail, and each harmless way to speak.
PLAYED = (
    Fault("status_400"),
    Fault("status_429"),
    Fault("status_503"),
    Fault("context_overflow"),
    Fault("cut", at="before_content"),
    Fault("cut", at="after_content"),
    Fault("early_end", at="after_content"),
    Fault("truncated_json", at="after_content"),
    Fault("bad_utf8", at="before_content"),
    Fault("error_in_200", at="before_content"),
    Fault("error_in_200", at="after_content"),
    Fault("html"),
    Fault("length_finish"),
    Fault("filter_finish"),
    Fault("no_usage"),
    Fault("duplicate"),
    Fault("byte_writes"),
    Fault("crlf"),
    Fault("comments"),
    Fault("informational"),
)


class Told(NamedTuple):
    """What a client of the gateway made of a call."""

    outcome: str
    text: str
    finish: str | None
    code: str | None
    usage: tuple[int, int] | None = None


class Lab(NamedTuple):
    """A mock, the address of the gateway before it, and a client of that."""

    mock: MockServer
    url: str
    client: openai.OpenAI

    def ask(self, model: str, *, stream: bool, **more: Any) -> Told:
        """Call, and tell the outcome in the words of ``Kind.expect``."""
        create: Any = self.client.chat.completions.create
        text, finish, usage = "", None, None
        options: Any = {"stream_options": {"include_usage": True}} if stream else {}
        try:
            answer = create(model=model, messages=ASKED, stream=stream, **options, **more)
            for each in answer if stream else [answer]:
                for choice in each.choices:
                    said = choice.delta if stream else choice.message
                    text += said.content or ""
                    for call in said.tool_calls or ():
                        text += call.function.arguments or ""
                    finish = choice.finish_reason or finish
                if each.usage:
                    usage = (each.usage.prompt_tokens, each.usage.completion_tokens)
        except openai.APIError as error:
            outcome = "error after content" if text else "error before content"
            return Told(outcome, text, finish, error.code)
        outcomes = {"length": "length", "content_filter": "filtered", None: "no finish"}
        return Told(outcomes.get(finish, "complete"), text, finish, None, usage)


def write_models(dialect: Dialect) -> str:
    names = {dialect: "m"} | {
        f"{dialect}/{fault.kind}/{fault.at}": f"fault:{fault.kind}" + f":at={fault.place}"
        for fault in PLAYED
    }
    return "\n".join(
        f'[models."{name}"]\ntargets = [{{ provider = "{dialect}", model = "{model}" }}]'
        for name, model in names.items()
    )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with ExitStack() as stack:
        mock = stack.enter_context(run_mock())
        models = "\n".join(map(write_models, DIALECTS))
        more = PROVIDERS.format(url=f"http://127.0.0.1:{mock.port}") + models
        folder: Path = tmp_path_factory.mktemp("gateway")
        gateway = stack.enter_context(run_gateway(folder, mock.port, more=more))
        client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0, timeout=20)
        yield Lab(mock, gateway.url, stack.enter_context(client))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_answer_is_read_as_it_was_meant(lab: Lab, dialect: Dialect, *, stream: bool) -> None:
    told = lab.ask(dialect, stream=stream)
    assert told == Told("complete", SAID, "stop", None, (4, 3))
    short = lab.ask(dialect, stream=stream, max_tokens=2)
    assert (short.outcome, short.text) == ("length", "one two")
    served = lab.mock.served[-1]
    assert (served.dialect, served.stream, served.finish) == (dialect, stream, "length")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_tool_is_called(lab: Lab, dialect: Dialect, *, stream: bool) -> None:
    told = lab.ask(dialect, stream=stream, tools=TOOLS, tool_choice="required")
    assert (told.outcome, told.text, told.finish) == ("complete", '{"city":"Paris"}', "tool_calls")


@pytest.mark.parametrize("stream", [False, True])
def test_a_raw_prompt(lab: Lab, *, stream: bool) -> None:
    asked = {"model": "raw-llm-engine", "prompt": PROMPT, "stream": stream}
    answer = httpx.post(f"{lab.url}/v4/completions", headers={"x-api-key": KEY}, json=asked)
    frames = [answer.text]
    if stream:
        lines = [line.partition("data: ")[2] for line in answer.text.splitlines()]
        frames = [line for line in lines if line.startswith("{")]
    texts = [json.loads(frame)["completion"]["text"] for frame in frames]
    assert "".join(texts) == SAID
    served = lab.mock.served[-1]
    assert served.path.startswith("/v1/llm/completions-")
    assert (served.operation, served.output_tokens) == ("text", 3)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", PLAYED, ids=lambda fault: f"{fault.kind}-{fault.place}")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_fault_becomes_what_is_expected(
    lab: Lab, dialect: Dialect, fault: Fault, *, stream: bool
) -> None:
    kind = FAULTS[fault.kind]
    told = lab.ask(f"{dialect}/{fault.kind}/{fault.at}", stream=stream)
    if not kind.applies("chat", dialect, stream=stream):
        assert told.outcome == "complete"
        return
    expected = fault.expect(stream=stream)
    assert told.outcome == expected
    if told.outcome.startswith("error"):
        assert told.code in kind.codes
    else:
        assert told.text == lab.mock.served[-1].text
