"""A gateway before servers that nobody here wrote, read by the official clients in strict mode.

What the gateway must hand on is asked of llama.cpp's server directly, without the gateway: every
server here ends at the same model, so that every way to it must give the same answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest
import scale_gp
import scale_gp_beta

from gateway import ACCOUNT, KEY, run_gateway
from real.proxy import RealServer
from sdk.client import CHAT, NATIVE, Ask, Line, Reply, read_chat, read_native

pytestmark = pytest.mark.model


@dataclass(frozen=True)
class Way:
    """One way from the gateway to the model.

    Attributes:
        server: the fixture of the server that the gateway calls.
        wire: the format in which it is called.
        path: stands between the server's root and the operation.
        counts_streams: a streamed answer of this server tells its usage.
        tells_overflow: the server says in a field that a prompt was too long, not in prose only.
        refused_key_status: what a client hears when the server refuses the gateway's key.
        row: the catalog row that is this server's; "" calls it by its wire alone.
    """

    server: str
    wire: str
    path: str = "/v1"
    counts_streams: bool = True
    tells_overflow: bool = True
    refused_key_status: int = 502
    row: str = ""

    @property
    def provider(self) -> str:
        """The name of its table: one with a row's name starts from the row."""
        return self.row or "real"

    @property
    def auth(self) -> str:
        """The line that says how its key is sent: rows of servers of one's own expect none."""
        return 'auth = "bearer"' if self.row else ""


def through_litellm(wire: str, path: str = "/v1", *, counts_streams: bool = True) -> Way:
    """LiteLLM without a database says 400 to a key that it does not know."""
    return Way("litellm", wire, path, counts_streams, tells_overflow=False, refused_key_status=400)


LLAMA_OPENAI = Way("llama", "openai", row="llama_cpp")
LLAMA_ANTHROPIC = Way("llama", "anthropic")
LITELLM_OPENAI = through_litellm("openai")
LITELLM_ANTHROPIC = through_litellm("anthropic")
# Its Gemini route never asks its own upstream for the usage of a stream, and tells zeros.
LITELLM_GEMINI = through_litellm("gemini", "/v1beta", counts_streams=False)

WAYS = [LLAMA_OPENAI, LLAMA_ANTHROPIC, LITELLM_OPENAI, LITELLM_ANTHROPIC, LITELLM_GEMINI]

CONFIG = """
[providers.{provider}]
wire = "{wire}"
base_url = "{base_url}"
api_key = "file:{key_path}"
{auth}

[providers.locked]
wire = "{wire}"
base_url = "{base_url}"
api_key = "sk-wrong"

[models.small]
targets = [{{ provider = "{provider}", model = "{model}" }}]
"""

SYSTEM = {"role": "system", "content": "You answer in one short sentence."}
USER = {"role": "user", "content": "What is the capital of France?"}
# Questions to which the model knows its answer: no other token comes near, so that rounding,
# which differs with what the server has in its cache, decides nothing.
TALKS: dict[str, list[dict[str, str]]] = {
    "with system": [SYSTEM, USER],
    "longer": [{"role": "user", "content": "Count from 1 to 20."}],
    "beyond ASCII": [{"role": "user", "content": "Repeat: 東京 🚄 東京 🚄 東京 🚄"}],
    "with history": [
        USER,
        {"role": "assistant", "content": "The capital of France is Paris."},
        {"role": "user", "content": "And of Italy?"},
    ],
}
GREEDY: dict[str, Any] = {"temperature": 0, "seed": 1, "max_tokens": 24}
CLIENTS = ("openai /v1", "scale-gp", "scale-gp-beta")
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
BAD_REQUESTS = (openai.BadRequestError, scale_gp.BadRequestError, scale_gp_beta.BadRequestError)


def mark_way(way: Way) -> Any:
    """The way as a parameter; LiteLLM takes its time to start."""
    marks = [pytest.mark.slow] if way.server == "litellm" else []
    return pytest.param(way, id=f"{way.server}-{way.wire}", marks=marks)


@pytest.fixture(scope="module", params=[mark_way(way) for way in WAYS])
def way(request: pytest.FixtureRequest) -> Way:
    value: Way = request.param
    return value


@pytest.fixture(scope="module")
def line(
    way: Way, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Line]:
    """A gateway whose model ``small`` is reached that way."""
    server: RealServer = request.getfixturevalue(way.server)
    folder = tmp_path_factory.mktemp("gateway")
    key_path = folder / "real.key"
    key_path.write_text(server.key)
    config = CONFIG.format(
        provider=way.provider,
        auth=way.auth,
        wire=way.wire,
        base_url=server.url + way.path,
        key_path=key_path,
        model=server.model,
    )
    with run_gateway(folder, more=config) as gateway:
        yield Line(gateway.url, KEY, ACCOUNT)


@pytest.fixture(scope="session")
def truth(llama: RealServer) -> dict[str, Reply]:
    """What the model says to every talk, and how many tokens that takes."""
    with httpx.Client(
        base_url=llama.url,
        headers={"authorization": f"Bearer {llama.key}"},
        timeout=60,
        trust_env=False,
    ) as client:
        return {name: ask_directly(client, messages) for name, messages in TALKS.items()}


def ask_directly(client: httpx.Client, messages: list[dict[str, str]]) -> Reply:
    answer = client.post("/v1/chat/completions", json=GREEDY | {"messages": messages}).json()
    [choice], usage = answer["choices"], answer["usage"]
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    counts = (usage[names[0]], usage[names[1]], usage[names[2]])
    assert counts[0] > 0
    assert counts[0] + counts[1] == counts[2]
    return Reply(choice["message"]["content"], choice["finish_reason"], counts, 1)


def chat(line: Line, client: str, talk: str, *, stream: bool = False, **given: Any) -> Reply:
    asked = {"model": "small", "messages": TALKS[talk], **GREEDY, **given}
    return read_chat(CHAT[client](line, asked, stream), stream)


@STREAM
@pytest.mark.parametrize("client", CLIENTS)
def test_chat(line: Line, truth: dict[str, Reply], client: str, stream: bool) -> None:
    check_reply(chat(line, client, "with system", stream=stream), truth["with system"], stream)


@pytest.mark.parametrize("way", [mark_way(way) for way in WAYS if way.row], indirect=True)
@STREAM
def test_the_rows_dialect(way: Way, line: Line, truth: dict[str, Reply], stream: bool) -> None:
    given = {
        "model": "small",
        "messages": [SYSTEM | {"role": "developer"}, USER],
        **GREEDY,
        "user": "u7",
        "store": True,
        "metadata": {"team": "a"},
        "service_tier": "flex",
    }
    reply = read_chat(CHAT["openai /v1"](line, given, stream), stream)
    check_reply(reply, truth["with system"], stream)


@STREAM
@pytest.mark.parametrize("talk", TALKS)
def test_every_talk(line: Line, truth: dict[str, Reply], talk: str, stream: bool) -> None:
    check_reply(chat(line, "openai /v1", talk, stream=stream), truth[talk], stream)


def check_reply(reply: Reply, wanted: Reply, stream: bool) -> None:
    """Nobody asked for the usage of the stream."""
    assert (reply.text, reply.finish_reason) == (wanted.text, wanted.finish_reason)
    assert reply.usage == (None if stream else wanted.usage)
    assert (reply.pieces > 3) == stream


@pytest.mark.parametrize("client", CLIENTS)
def test_usage_of_a_stream(way: Way, line: Line, truth: dict[str, Reply], client: str) -> None:
    asked = {"stream_options": {"include_usage": True}}
    reply = chat(line, client, "with system", stream=True, **asked)
    wanted = truth["with system"]
    assert (reply.text, reply.finish_reason) == (wanted.text, wanted.finish_reason)
    if way.counts_streams:
        assert reply.usage == wanted.usage


@STREAM
@pytest.mark.parametrize("client", ["scale-gp", "scale-egp"])
def test_native(way: Way, line: Line, truth: dict[str, Reply], client: str, stream: bool) -> None:
    ask: Ask = NATIVE[client]
    given = {
        "model": "small",
        "prompt": TALKS["longer"][0]["content"],
        "model_parameters": {"temperature": 0, "max_tokens": GREEDY["max_tokens"]},
    }
    reply = read_native(ask(line, given, stream))
    wanted = truth["longer"]
    assert (reply.text, reply.finish_reason) == (wanted.text, wanted.finish_reason)
    if way.counts_streams or not stream:
        assert reply.usage == wanted.usage
    assert (reply.pieces > 3) == stream


@STREAM
@pytest.mark.parametrize("client", CLIENTS)
def test_stop(line: Line, truth: dict[str, Reply], client: str, stream: bool) -> None:
    text = truth["with system"].text
    word = text.split()[-1]
    reply = chat(line, client, "with system", stream=stream, stop=["never said", word])
    assert reply.text == text.partition(word)[0]
    assert reply.finish_reason == "stop"


@STREAM
def test_a_limit_of_length(line: Line, truth: dict[str, Reply], stream: bool) -> None:
    reply = chat(line, "openai /v1", "longer", stream=stream, max_tokens=2)
    assert reply.text
    assert truth["longer"].text.startswith(reply.text)
    assert reply.finish_reason == "length"
    if not stream:
        assert reply.usage is not None
        assert reply.usage[1] == 2


@STREAM
@pytest.mark.parametrize("client", CLIENTS)
def test_an_overlong_prompt(way: Way, line: Line, client: str, stream: bool) -> None:
    given = {
        "model": "small",
        "messages": [{"role": "user", "content": "word " * 1500}],
        "max_tokens": 4,
    }
    with pytest.raises(BAD_REQUESTS) as caught:
        CHAT[client](line, given, stream)
    if way.tells_overflow and isinstance(caught.value, openai.BadRequestError):
        assert caught.value.code == "context_length_exceeded"


@STREAM
def test_a_key_that_the_server_refuses(way: Way, line: Line, stream: bool) -> None:
    given = {"model": "locked/small", "messages": [USER], "max_tokens": 4}
    with pytest.raises(openai.APIStatusError) as caught:
        CHAT["openai /v1"](line, given, stream)
    assert caught.value.status_code == way.refused_key_status
    assert "sk-wrong" not in str(caught.value)
