"""An operator's configuration as it can be played here: same routes, mocks for providers. Pure."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from trunkline.app import EngineLink, build_table
from trunkline.call import Deadlines
from trunkline.catalog import Catalog, ProviderSettings
from trunkline.mock.behaviour import Dialect
from trunkline.routing.plan import find_route
from trunkline.routing.table import Route, Target
from trunkline.settings import ModelSettings, Settings

DUMMY: Final = "chaos-dummy-key"
WAIT_S: Final = 1.0
"""The longest wait of a rehearsed deadline but the total: what the operator's are scaled to."""
_LEAST_S: Final = 0.4
_TOTAL_S: Final = 6.0
_OUTSIDE: Final = (
    "ca_file", "cert_file", "key_file", "proxy", "service_account", "session_token",
    "region", "project", "location", "resource", "paths",
    "concurrent", "queue", "queue_s",
)  # fmt: skip
"""What a provider's row says of the world outside, and how many calls it takes at once."""


class Part(msgspec.Struct, frozen=True):
    """One target of a rehearsed route: its provider here, its model, and the rest of its row."""

    provider: str
    model: str
    words: dict[str, Any] = {}

    @property
    def is_spare(self) -> bool:
        """Only for what others refuse: no part of the normal order."""
        return bool(self.words.get("on"))


class Line(msgspec.Struct, frozen=True):
    """One public name that is rehearsed.

    ``words`` are its columns, deadlines and routing; ``failures`` how many open a circuit;
    ``alike`` other names that are routed in the same way.
    """

    name: str
    parts: tuple[Part, ...]
    words: dict[str, Any]
    deadlines: Deadlines
    retries: int
    failures: int = 5
    alike: tuple[str, ...] = ()

    @property
    def resumes(self) -> bool:
        """Whether another target may go on with a stream that broke."""
        return bool(self.words.get("routing", {}).get("resume"))

    @property
    def order(self) -> tuple[Part, ...]:
        """The targets of the normal order."""
        return tuple(part for part in self.parts if not part.is_spare)


class Rehearsal(msgspec.Struct, frozen=True):
    """What is played: the lines, the dialect of every provider, and what was changed."""

    lines: tuple[Line, ...]
    dialects: dict[str, Dialect]
    rows: dict[str, dict[str, Any]]
    stream: dict[str, Any]
    scale: float


def make_rehearsal(settings: Settings, catalog: Catalog, wanted: Sequence[str] = ()) -> Rehearsal:
    """Choose the names to play and what stands behind them.

    Args:
        settings: the operator's, complete, with any secrets.
        catalog: what the package knows.
        wanted: the public names; without them, one of each way of routing.

    Raises:
        GatewayError: ``model_not_found`` for a wanted name that has no route.
    """
    links = tuple(EngineLink(name, "http://127.0.0.1:1", "", name) for name in settings.engines)
    table = build_table(settings, catalog, links)
    names = list(wanted) or _list_names(settings, [*table.routes])
    waits = [_longest(find_route(table, name).deadlines) for name in names]
    scale = min(1.0, WAIT_S / max([*waits, WAIT_S]))
    lines = [_make_line(find_route(table, name), name, scale) for name in names]
    dialects: dict[str, Dialect] = dict.fromkeys(map(_name_engine, settings.engines), "openai")
    rows = {_name_engine(name): _ENGINE_ROW for name in settings.engines}
    for name, provider in settings.providers.items():
        dialects[name] = provider.wire or "openai"
        rows[name] = _fit_row(provider)
    return Rehearsal(
        tuple(lines if wanted else _join_alike(lines)),
        dialects,
        rows,
        msgspec.structs.asdict(settings.stream),
        scale,
    )


_ENGINE_ROW: Final[dict[str, Any]] = {
    "wire": "openai",
    "api_key": DUMMY,
    "serves": ["chat", "text"],
    "images": "data",
    "constrains": True,
}


def _list_names(settings: Settings, routes: Sequence[str]) -> list[str]:
    """The configured names; without any, what the providers have by themselves."""
    names = [*settings.models, *(f"local/{name}" for name in settings.engines)]
    return names or [*routes[:1]] or [f"{provider}/some-model" for provider in settings.providers]


def _name_engine(name: str) -> str:
    return f"engine-{name}"


def _longest(deadlines: Deadlines) -> float:
    return max(deadlines.first_token_s, deadlines.idle_s)


def _scale(deadlines: Deadlines, scale: float) -> Deadlines:
    """The same deadlines, shorter: but never so short that a busy machine misses them."""
    if scale == 1:
        return deadlines
    first_s = max(_LEAST_S, deadlines.first_token_s * scale)
    idle_s = max(_LEAST_S, deadlines.idle_s * scale)
    connect_s = max(_LEAST_S, deadlines.connect_s * scale)
    total_s = min(_TOTAL_S, max(first_s + idle_s, deadlines.total_s * scale))
    return Deadlines(connect_s, first_s, idle_s, total_s)


def _make_line(route: Route, name: str, scale: float) -> Line:
    columns = {
        field: value
        for field in route.columns.__struct_fields__
        if (value := getattr(route.columns, field)) is not None
        and field in ModelSettings.__struct_fields__
    }
    deadlines = _scale(route.deadlines, scale)
    words = columns | {
        "routing": msgspec.to_builtins(route.rule) | {"retry_share": 1.0},
        "deadlines": msgspec.structs.asdict(deadlines),
    }
    parts = tuple(map(_make_part, route.targets))
    rule = route.rule
    return Line(name, parts, words, deadlines, rule.retries, rule.circuit.failures)


def _make_part(target: Target) -> Part:
    words: dict[str, Any] = {"weight": target.weight}
    if target.on:
        words["on"] = list(target.on)
    provider = target.provider
    if provider == "local":
        provider = _name_engine(target.upstream.removeprefix("local/"))
    return Part(provider, target.model, words)


def _fit_row(provider: ProviderSettings) -> dict[str, Any]:
    """A provider's whole row, so that it needs no catalog, without what leads outside."""
    row: dict[str, Any] = {
        name: word
        for name, word in msgspec.to_builtins(provider).items()
        if word is not None and name not in _OUTSIDE
    }
    if provider.auth == "aws-sigv4":
        row |= {"access_key": DUMMY, "secret_key": DUMMY, "region": "us-east-1"}
    elif provider.auth == "google-oauth":
        row |= {"auth": "bearer", "api_key": DUMMY}
    elif provider.api_key:
        row["api_key"] = DUMMY
    return row


def _join_alike(lines: Sequence[Line]) -> list[Line]:
    """One line of each way of routing, with the names of the others."""
    ways: dict[str, list[Line]] = {}
    for line in lines:
        way = repr(([(part.provider, part.words) for part in line.parts], line.words))
        ways.setdefault(way, []).append(line)
    return [
        msgspec.structs.replace(same[0], alike=tuple(line.name for line in same[1:]))
        for same in ways.values()
    ]
