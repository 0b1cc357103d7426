"""A new limiter for each test, once for every place where limits can be counted."""

from collections.abc import AsyncIterator, Iterator

import pytest

from limits.server import find_url, make_prefix
from store.conftest import store, where  # noqa: F401 - pytest finds the fixtures here
from trunkline.limits.lease import Patience
from trunkline.limits.limiter import Limiter
from trunkline.limits.memory import MemoryLimiter
from trunkline.limits.redis import RedisLimiter

KINDS = ["memory", pytest.param("redis", marks=pytest.mark.redis)]


@pytest.fixture(params=KINDS)
async def limiter(request: pytest.FixtureRequest) -> AsyncIterator[Limiter]:
    if request.param == "memory":
        yield MemoryLimiter()
        return
    with make_prefix() as prefix:
        made = RedisLimiter(find_url(), patience=Patience(answer_s=10), prefix=prefix)
        yield made
        await made.close()


@pytest.fixture
def prefix() -> Iterator[str]:
    with make_prefix() as made:
        yield made
