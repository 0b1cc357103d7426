"""With two targets and one that fails in any way before content, every call succeeds."""

import asyncio

import pytest

from matrix.case import WAITS
from matrix.failing import CALLS, TEXT, Failing, list_failing, play_failing
from trunkline.chaos.heard import Heard
from trunkline.chaos.verdict import is_complete

pytestmark = pytest.mark.slow
CASES = list_failing()
FEWEST_TO_OPEN = 5


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Heard]]:
    """All calls of all cases."""
    return asyncio.run(play_failing(CASES, tmp_path_factory.mktemp("failing")))


def test_there_are_enough_ways_to_fail() -> None:
    assert len({case.fault.kind for case in CASES}) >= 15


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_every_call_succeeds(case: Failing, played: dict[str, list[Heard]]) -> None:
    heard = played[case.id]
    assert len(heard) == CALLS
    for each in heard:
        assert is_complete(each), each
        assert (each.text, each.finish_reason, each.fault) == (TEXT, "stop", "")
        assert each.headers["x-trunkline-target"] == f"second/{case.model}"
        # One deadline of the first target at most, and no waiting between different targets.
        assert each.elapsed_s < WAITS.first_token_s + 2


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_few_attempts_are_made_once_the_circuit_is_open(
    case: Failing, played: dict[str, list[Heard]]
) -> None:
    attempts = [int(each.headers["x-trunkline-attempts"]) for each in played[case.id]]
    assert max(attempts) == 2
    opened = attempts.index(1)
    # Who says for how long it wants to be left alone is put aside at once.
    if "429" not in case.fault.kind and case.fault.kind != "status_503":
        assert opened >= FEWEST_TO_OPEN - 1, "it opened too soon"
    after = attempts[opened:]
    assert sum(after) / len(after) <= 1.2, attempts
