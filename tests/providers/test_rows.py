"""Every row of the catalog, played through a gateway before a vendor that answers as recorded."""

import json
import re
import tomllib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import openai
import pytest
import scale_gp_beta

from gateway import ACCOUNT, STEADY, run_gateway, run_upstream
from providers.row_case import (
    KEY,
    Case,
    Failure,
    Said,
    fold,
    hold,
    list_cases,
    parse_case,
    read_case,
    write_stream,
)
from real.test_real_servers import WAYS
from scripted import Peer, ScriptedServer
from trunkline.catalog import ProviderSettings, read_catalog
from trunkline.routing.tapping import TAPPED as WIRES
from trunkline.settings import read_settings
from trunkline.wire.body import read_fields
from trunkline.wire.change import Changes
from trunkline.wire.parameter import MEANINGLESS
from trunkline.wire.rewrite import Dialect, Rewrite

TESTS = Path(__file__).parents[1]
GUIDE = TESTS.parent / "CONTRIBUTING.md"
ROWS = read_catalog().providers
TAPPED = [name for name, row in ROWS.items() if (row.wire or "openai") in WIRES]
OF_THE_CALL: Mapping[Rewrite, str] = {"n_fan_out": "n", "no_stream_options": "stream_options"}
"""Rewrites that change more than fields, by the field that calls for them."""


def read_guide() -> tuple[str, str, Case]:
    """The example of CONTRIBUTING.md: its name, its row and its case."""
    text = GUIDE.read_text("utf-8")
    (row,) = re.findall(r"```toml\n(\[providers\.acme\].*?)```", text, re.DOTALL)
    (case,) = re.findall(r"```json\n(\{.*?)```", text, re.DOTALL)
    return "acme", row, parse_case(case)


EXAMPLE, EXAMPLE_ROW, EXAMPLE_CASE = read_guide()
CASES = {name: read_case(name) for name in list_cases()} | {EXAMPLE: EXAMPLE_CASE}
FAILURES = [
    pytest.param(name, failure, id=f"{name}-{position}")
    for name, case in CASES.items()
    for position, failure in enumerate(case.failures)
]
every_row = pytest.mark.parametrize("name", CASES)


@dataclass
class Stage:
    """A gateway with every row, the one vendor behind them all, and clients before it."""

    upstream: ScriptedServer
    vendor: "Vendor"
    clients: Mapping[str, Any]
    """The ``chat.completions`` of each client, in strict mode."""


@dataclass
class Vendor:
    """A script that answers as it was told last."""

    answer: Callable[[Peer], Awaitable[None]] = field(init=False)

    async def __call__(self, peer: Peer) -> None:
        while True:
            await peer.request()
            await self.answer(peer)

    def say(self, said: Said) -> None:
        async def answer(peer: Peer) -> None:
            headers = {"content-type": "application/json", **said.headers}
            await peer.answer(said.encode(), said.status, headers)

        self.answer = answer

    def stream(self, case: Case, failure: Failure | None = None) -> None:
        frames = failure.frames if failure else case.stream

        async def answer(peer: Peer) -> None:
            await peer.begin_sse()
            for frame in write_stream(frames, case.line_end):
                await peer.chunk(frame)
            await peer.end_chunked()

        self.answer = answer


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder, vendor = tmp_path_factory.mktemp("rows"), Vendor()
    with run_upstream(vendor) as upstream:
        config = write_config(read_addresses(folder), upstream.port)
        with run_gateway(folder, upstream.port, more=config + STEADY) as gateway:
            strict: Any = {
                "api_key": gateway.headers["x-api-key"],
                "max_retries": 0,
                "_strict_response_validation": True,
            }
            with (
                openai.OpenAI(base_url=f"{gateway.url}/v1", **strict) as oai,
                scale_gp_beta.SGPClient(base_url=gateway.url, account_id=ACCOUNT, **strict) as sgp,
            ):
                clients = {"openai": oai.chat.completions, "sgp": sgp.chat.completions}
                yield Stage(upstream, vendor, clients)


def read_addresses(folder: Path) -> dict[str, str]:
    """Every row's own address, with the operator's fields in it."""
    path = folder / "rows.toml"
    path.write_text("".join(write_table(name) for name in CASES))
    providers = read_settings(path, read_catalog(), {}).providers
    return {name: row.base_url or "" for name, row in providers.items()}


def write_config(addresses: Mapping[str, str], port: int) -> str:
    """The same tables, each at the same path of the scripted vendor."""
    tables = ""
    for name, address in addresses.items():
        line = f'base_url = "http://127.0.0.1:{port}{urlsplit(address).path}"\n'
        table = re.sub(r"(?m)^base_url = .*\n", "", write_table(name))
        head, mark, rest = table.partition("]\n")
        tables += head + mark + line + rest
    return tables


def write_table(name: str) -> str:
    """A table of the configuration: the key and what the row needs, no more."""
    if name == EXAMPLE:
        return f'{EXAMPLE_ROW}api_key = "{KEY}"\n'
    lines = [f"{key} = {json.dumps(value)}" for key, value in CASES[name].settings.items()]
    if ROWS[name].auth != "none":
        lines.append(f'api_key = "{KEY}"')
    return "\n".join([f"[providers.{name}]", *lines, ""])


def ask(create: Callable[..., Any], case: Case, **more: Any) -> Any:
    """Call a client's ``create`` with the case's body as it stands."""
    fields = {key: value for key, value in case.client.items() if key not in {"model", "messages"}}
    extra = {**fields, **more.pop("extra", {})}
    client = {key: case.client[key] for key in ("model", "messages")}
    return create(**client, **more, extra_body=extra)


def check_request(stage: Stage, seen: int, case: Case, *, stream: bool) -> None:
    """The vendor got what its reference asks for, and nothing else."""
    requests = stage.upstream.requests[seen:]
    wanted = case.upstream
    assert len(requests) == wanted.times
    for request in requests:
        assert request.target == wanted.path
        assert {name: request.headers.get(name) for name in wanted.headers} == wanted.headers
        assert json.loads(request.body) == wanted.body | (wanted.stream if stream else {})


@pytest.mark.parametrize("client", ["openai", "sgp"])
@every_row
def test_whole(stage: Stage, name: str, client: str) -> None:
    case, seen = CASES[name], len(stage.upstream.requests)
    stage.vendor.say(case.reply)
    raw = ask(stage.clients[client].with_raw_response.create, case)
    answer = raw.parse().model_dump(mode="json", exclude_unset=True)
    check_request(stage, seen, case, stream=False)
    told = raw.headers.get("x-trunkline-changes", "")
    assert sorted(filter(None, told.split(","))) == sorted(case.changes)
    assert hold(answer, case.answer), answer


@every_row
def test_streamed(stage: Stage, name: str) -> None:
    case, seen = CASES[name], len(stage.upstream.requests)
    stage.vendor.stream(case)
    asked = {"stream_options": {"include_usage": True}}
    chunks = list(ask(stage.clients["openai"].create, case, stream=True, extra=asked))
    check_request(stage, seen, case, stream=True)
    choices, usages = fold(chunk.model_dump(mode="json", exclude_unset=True) for chunk in chunks)
    wanted = {key: value for key, value in case.streamed.items() if key != "usage"}
    assert choices == [wanted] * case.upstream.times
    assert hold(usages, [case.streamed["usage"]]), usages


@every_row
def test_streamed_to_an_sgp_client(stage: Stage, name: str) -> None:
    case, seen = CASES[name], len(stage.upstream.requests)
    stage.vendor.stream(case)
    chunks = list(ask(stage.clients["sgp"].create, case, stream=True))
    check_request(stage, seen, case, stream=True)
    assert all(chunk.choices for chunk in chunks)
    choices, _ = fold(chunk.model_dump(mode="json", exclude_unset=True) for chunk in chunks)
    wanted = {key: value for key, value in case.streamed.items() if key != "usage"}
    assert choices == [wanted] * case.upstream.times


@pytest.mark.parametrize(("name", "failure"), FAILURES)
def test_failing(stage: Stage, name: str, failure: Failure) -> None:
    case = CASES[name]
    for stream in (False, True):
        if stream and failure.frames:
            stage.vendor.stream(case, failure)
        elif failure.frames or (stream and failure.status == 200):
            continue
        else:
            stage.vendor.say(failure)
        with pytest.raises(openai.APIError) as caught:
            list(ask(stage.clients["openai"].create, case, stream=stream))
        error = caught.value
        assert (error.code, error.param) == (failure.code, failure.param)
        assert KEY not in str(error.body)
        if failure.wait_s is not None:
            assert isinstance(error, openai.APIStatusError)
            assert error.response.headers["retry-after"] == failure.wait_s


def test_every_row_that_is_tapped_has_a_case_and_no_case_lacks_its_row() -> None:
    assert list_cases() == sorted(TAPPED)


def test_every_other_row_speaks_a_format_with_cases() -> None:
    for name, row in ROWS.items():
        if name not in TAPPED:
            assert any((TESTS / "wire" / "cases" / str(row.wire)).rglob("*.json")), name


def test_a_row_claims_no_more_than_has_been_tried() -> None:
    tried = {way.row for way in WAYS if way.row}
    assert {name for name, row in ROWS.items() if row.tier == "real server"} == tried
    assert {row.tier for name, row in ROWS.items() if name not in tried} == {"recorded"}


def find_row(name: str) -> ProviderSettings:
    if name != EXAMPLE:
        return ROWS[name]
    return msgspec.convert(tomllib.loads(EXAMPLE_ROW)["providers"][EXAMPLE], ProviderSettings)


@every_row
def test_no_drop_or_rewrite_of_a_row_is_idle_in_its_case(name: str) -> None:
    row, client = find_row(name), CASES[name].client
    drops, rewrites = row.drops or (), row.rewrites or ()

    def write(dialect: Dialect) -> dict[str, msgspec.Raw]:
        fields = read_fields(msgspec.json.encode(client))
        dialect.apply(fields, Changes())
        return fields

    full = write(Dialect(drops, rewrites))
    for each in drops:
        assert client[each] not in MEANINGLESS.get(each, ())
    for rewrite in rewrites:
        if rewrite in OF_THE_CALL:
            continue
        others = [other for other in rewrites if other != rewrite]
        assert write(Dialect(drops, others)) != full, rewrite
    for rewrite, called in OF_THE_CALL.items():
        if rewrite in rewrites:
            assert called in client or called not in CASES[name].upstream.stream
