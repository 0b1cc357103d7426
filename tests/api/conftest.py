"""Fixtures for tests of the gateway's own HTTP side, run through both doors."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.vendors import speak
from gateway import DOORS, Door, RunningGateway, run_gateway, run_upstream, talking
from scripted import ScriptedServer


@pytest.fixture(params=DOORS, scope="module")
def door(request: pytest.FixtureRequest) -> Door:
    value: Door = request.param
    return value


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    """A client that keeps its connections: to make one takes longer than a call."""
    with httpx.Client(timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedServer]:
    with run_upstream(talking()) as server:
        yield server


@pytest.fixture(scope="session")
def vendors() -> Iterator[ScriptedServer]:
    """Every provider of the catalog, below ``/at/NAME``."""
    with run_upstream(speak) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, upstream: ScriptedServer, door: Door
) -> Iterator[RunningGateway]:
    path: Path = tmp_path_factory.mktemp("gateway")
    with run_gateway(path, upstream.port, door=door) as running:
        yield running
