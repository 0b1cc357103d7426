"""Servers that nobody here wrote: llama.cpp's own, and LiteLLM's proxy in front of it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from real.proxy import RealServer, install_proxy, run_proxy
from trunkline.cli import find_dir
from trunkline.engines.library import DEFAULT_MODEL
from trunkline.engines.process import EngineProcess, EngineSpec

CONTEXT_TOKENS = 1024


@pytest.fixture(scope="session")
def llama(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """llama.cpp's server on the default model: to the gateway a provider like any other."""
    spec = EngineSpec("real", model_path, DEFAULT_MODEL, CONTEXT_TOKENS, slots=1)
    process = EngineProcess(spec, tmp_path_factory.mktemp("llama") / "llama.log")
    process.start()
    try:
        process.wait_ready(60)
        yield RealServer(process.address, process.key, DEFAULT_MODEL)
    finally:
        process.stop()


@pytest.fixture(scope="session")
def litellm(llama: RealServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """LiteLLM's proxy; its own upstream is the server of ``llama``."""
    bin_folder = install_proxy(find_dir(os.environ, "CACHE", ".cache") / "litellm")
    with run_proxy(bin_folder, tmp_path_factory.mktemp("litellm"), llama) as server:
        yield server
