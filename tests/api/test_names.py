"""The 76 names of the official SDK: each is served, stood in for, or explained."""

import typing
from collections.abc import Iterator

import httpx
import pytest
from scale_gp.types.completion_create_params import CompletionCreateParamsBase

from api.vendors import run_every
from gateway import Door, RunningGateway, run_gateway
from scripted import ScriptedServer
from trunkline.catalog import read_catalog

MODELS = read_catalog().models
STAND_IN = '[demo]\nstand_in = "model"\n'


def read_names() -> list[str]:
    """The closed list of names in the SDK's own types."""
    wanted = typing.get_type_hints(CompletionCreateParamsBase)["model"]
    return [
        name
        for option in typing.get_args(wanted)
        for name in typing.get_args(option)
        if isinstance(name, str)
    ]


NAMES = read_names()
NATIVE = [name for name in NAMES if MODELS[name].native]
MAPPED = "gpt-oss-120b"
"""The one that the tests' configuration maps."""


def test_the_catalog_has_the_sdks_names_in_their_order() -> None:
    assert len(NAMES) == 76
    assert list(MODELS)[:76] == NAMES
    retired = [name for name in NAMES if MODELS[name].status == "retired"]
    unavailable = [name for name in NAMES if MODELS[name].status == "unavailable"]
    assert (len(NATIVE), len(retired), len(unavailable)) == (45, 23, 2)


@pytest.fixture(scope="module", params=["", STAND_IN], ids=["alone", "stand-in"])
def is_alone(request: pytest.FixtureRequest) -> bool:
    return not request.param


@pytest.fixture(scope="module")
def small(
    tmp_path_factory: pytest.TempPathFactory, upstream: ScriptedServer, door: Door, is_alone: bool
) -> Iterator[RunningGateway]:
    """A gateway that has none of the catalog's providers."""
    path = tmp_path_factory.mktemp("gateway")
    more = "" if is_alone else STAND_IN
    with run_gateway(path, upstream.port, door=door, more=more) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def large(
    tmp_path_factory: pytest.TempPathFactory, vendors: ScriptedServer, door: Door, is_alone: bool
) -> Iterator[RunningGateway]:
    """A gateway that has them all."""
    path = tmp_path_factory.mktemp("gateway")
    with run_every(path, vendors, door, "" if is_alone else STAND_IN) as gateway:
        yield gateway


def ask(client: httpx.Client, gateway: RunningGateway, name: str) -> httpx.Response:
    body = {"model": name, "prompt": "Hi"}
    return client.post(f"{gateway.url}/v4/completions", json=body, headers=gateway.headers)


def check_explained(response: httpx.Response, name: str) -> None:
    """The 404 that says what became of a name, and how it could be served."""
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    told, row = error["message"], MODELS[name]
    assert told.startswith(f"Model '{name}' not found")
    assert f'[models."{name}"] targets = [{{ provider = ' in told
    if row.status == "retired":
        assert f"its vendor retired it{f' on {row.retired_on}' if row.retired_on else ''}." in told
        assert f"Use '{row.replacement}' instead." in told
        assert f'model = "{row.replacement}" }}]' in told
    elif row.status == "unavailable":
        assert "it was never offered to the public" in told
    else:
        assert "retired" not in told
    for provider in row.native:
        assert provider in told


def check_stood_in(response: httpx.Response) -> None:
    assert response.status_code == 200
    assert response.headers["x-trunkline-changes"].split(",")[0] == "stand_in"
    assert response.headers["x-trunkline-target"] == "lab/upstream-model"
    assert response.json()["completion"]["response_metadata"]["stand_in"] is True


@pytest.mark.parametrize("name", [name for name in NAMES if name != MAPPED])
def test_without_a_provider_every_name_is_explained_or_stood_in_for(
    small: RunningGateway, client: httpx.Client, is_alone: bool, name: str
) -> None:
    response = ask(client, small, name)
    if is_alone:
        check_explained(response, name)
    else:
        check_stood_in(response)
        assert response.json()["completion"]["text"] == "Hello, world"


@pytest.mark.parametrize("name", [name for name in NAMES if name != MAPPED])
def test_with_all_providers_a_name_needs_no_mapping(
    large: RunningGateway,
    vendors: ScriptedServer,
    client: httpx.Client,
    is_alone: bool,
    name: str,
) -> None:
    row = MODELS[name]
    if not row.native:
        if is_alone:
            check_explained(ask(client, large, name), name)
        return
    response = ask(client, large, name)
    assert response.status_code == 200
    assert response.json()["completion"]["text"] == "Hello, world"
    assert "stand_in" not in response.text
    provider, _, model = response.headers["x-trunkline-target"].partition("/")
    assert row.native[provider] == model
    request = vendors.requests[-1]
    assert request.target.startswith(f"/at/{provider}/")
    sent = (request.target + request.body.decode()).replace("%2F", "/").replace("%3A", ":")
    assert model in sent


def test_a_mapping_wins_over_all(
    large: RunningGateway, small: RunningGateway, client: httpx.Client
) -> None:
    body = {"model": MAPPED, "prompt": "Hi"}
    # The lab's path is none that the vendors know: what matters is where the call went.
    for gateway in (large, small):
        listed = client.get(f"{gateway.url}/v1/models", headers=gateway.headers).json()
        assert [model["id"] for model in listed["data"]].count(MAPPED) == 1
    response = client.post(f"{small.url}/v4/completions", json=body, headers=small.headers)
    assert response.headers["x-trunkline-target"] == "lab/upstream-model"
    assert "stand_in" not in response.headers.get("x-trunkline-changes", "")


def test_what_is_listed_is_what_is_answered(
    large: RunningGateway, small: RunningGateway, client: httpx.Client, is_alone: bool
) -> None:
    configured = {"model", "raw", MAPPED}
    wanted = {small.url: configured, large.url: {name for name in MODELS if MODELS[name].native}}
    for gateway in (small, large):
        listed = client.get(f"{gateway.url}/v1/models", headers=gateway.headers).json()
        names = {model["id"] for model in listed["data"]}
        assert names == configured | wanted[gateway.url] | (set() if is_alone else {*MODELS})


@pytest.mark.parametrize("prefix", ["openai/", "nobody/"])
def test_a_vendor_that_is_not_there_is_named(
    small: RunningGateway, client: httpx.Client, is_alone: bool, prefix: str
) -> None:
    response = ask(client, small, f"{prefix}gpt-4o")
    if is_alone:
        assert response.status_code == 404
        assert f"[providers.{prefix.removesuffix('/')}]" in response.json()["detail"]
    else:
        check_stood_in(response)
