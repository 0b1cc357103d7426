"""Every provider of the catalog, played by one scripted server that is told apart by paths."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gateway import Door, RunningGateway, run_gateway, run_upstream
from providers.issuing import Desk, token
from scripted import Peer, Request, ScriptedServer
from speaking import is_streamed, write_stream, write_whole
from trunkline.catalog import read_catalog
from trunkline.routing.table import Wire

CATALOG = read_catalog().providers
TOKEN = "ya29.token-of-the-machine"
PLACES = {
    "azure": 'resource = "team"',
    "vertex_ai": 'project = "team"\nlocation = "europe-west4"',
    "bedrock": 'region = "eu-west-1"\naccess_key = "AKIDEXAMPLE"\nsecret_key = "env:LAB_KEY"',
}


def write_table(name: str, base_url: str | None) -> str:
    """The configuration of a provider, with what only its operator knows."""
    lines = [f"[providers.{name}]", PLACES.get(name, "")]
    if base_url:
        lines.append(f'base_url = "{base_url}"')
    if CATALOG[name].complete().auth not in ("none", "aws-sigv4", "google-oauth"):
        lines.append('api_key = "env:LAB_KEY"')
    return "\n".join(lines)


def read_name(request: Request) -> str:
    """The provider whose name stands in the path."""
    return request.target.split("/")[2]


async def speak(peer: Peer) -> None:
    """Answers as the provider would."""
    while True:
        request = await peer.request()
        row = CATALOG[read_name(request)]
        wire: Wire = row.wire or "openai"
        if "no_stream_options" in (row.rewrites or ()):
            asked = json.loads(request.body) | {"stream_options": {"include_usage": True}}
            request = replace(request, body=json.dumps(asked).encode())  # usage comes unasked
        if is_streamed(wire, request):
            await peer.begin_sse()
            for frame in write_stream(wire, request):
                await peer.chunk(frame)
            await peer.end_chunked()
        else:
            await peer.answer(write_whole(wire, request))


@contextmanager
def run_every(
    folder: Path, vendors: ScriptedServer, door: Door, more: str = ""
) -> Iterator[RunningGateway]:
    """A gateway with all the rows of the catalog, each at a path with its name."""
    tables = [write_table(name, f"{vendors.url}/at/{name}") for name in CATALOG]
    with run_upstream(Desk(token(TOKEN))) as desk, pytest.MonkeyPatch.context() as patch:
        patch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{desk.port}")
        tables.append(more)
        with run_gateway(folder, vendors.port, door=door, more="\n".join(tables)) as gateway:
            yield gateway
