import asyncio

import pytest

from matrix.case import Case, Upstream, list_cases
from matrix.stage import Find, Outcome, Stage


@pytest.fixture(scope="session")
def find_outcome(tmp_path_factory: pytest.TempPathFactory) -> Find:
    """What came of a case; the cases of its upstream are all played when the first is asked for."""
    played: dict[Upstream, dict[str, Outcome]] = {}

    def find(case: Case) -> Outcome:
        if case.upstream not in played:
            cases = [each for each in list_cases() if each.upstream == case.upstream]
            folder = tmp_path_factory.mktemp(f"matrix-{case.upstream}")
            played[case.upstream] = asyncio.run(Stage(cases, folder).play())
        return played[case.upstream][case.id]

    return find
