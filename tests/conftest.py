"""What tests of every room may ask for."""

import os
import sys
from pathlib import Path

import pytest

from store.postgres import (  # noqa: F401 - pytest finds the hooks here
    pytest_collection_modifyitems,
    pytest_terminal_summary,
)
from trunkline.cli import find_dir
from trunkline.engines.library import DEFAULT_MODEL
from trunkline.engines.model import pull_model
from trunkline.engines.progress import ProgressBar

pytest_plugins = ["limits.server"]


@pytest.fixture(scope="session")
def model_path() -> Path:
    """The default model's file in the user's cache, pulled on the first run."""
    cache_dir = find_dir(os.environ, "CACHE", ".cache")
    return pull_model(DEFAULT_MODEL, cache_dir, ProgressBar(sys.stderr))
