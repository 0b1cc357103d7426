"""The stage of each door, set once for all tests of the dialects."""

import os
from collections.abc import Iterator

import pytest

from gateway import DOORS
from wires.stage import Stage, set_stage

FOREIGN_VARIABLES = ("SGP_", "EGP_", "OPENAI_", "AWS_")


@pytest.fixture(params=DOORS, scope="session")
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with pytest.MonkeyPatch.context() as patch:
        # A person's own settings of the clients must not decide where a test calls.
        for name in os.environ:
            if name.startswith(FOREIGN_VARIABLES):
                patch.delenv(name)
        with set_stage(tmp_path_factory.mktemp("stage"), request.param) as running:
            yield running
