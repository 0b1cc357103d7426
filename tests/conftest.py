"""What tests of every room may ask for."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from trunkline.cli import find_dir
from trunkline.engines.library import DEFAULT_MODEL
from trunkline.engines.model import pull_model
from trunkline.engines.progress import ProgressBar

pytest_plugins = ["absence", "limits.server", "sharing", "store.postgres"]

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


@pytest.fixture(scope="session")
def model_path() -> Path:
    """The default model's file in the user's cache, pulled on the first run."""
    cache_dir = find_dir(os.environ, "CACHE", ".cache")
    return pull_model(DEFAULT_MODEL, cache_dir, ProgressBar(sys.stderr))
