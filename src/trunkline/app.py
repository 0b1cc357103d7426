"""The composition root: settings in, ASGI application out."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from trunkline.access.roster import Roster
from trunkline.access.verifier import Verifier
from trunkline.api.admin_route import AdminDesk
from trunkline.api.asgi import Receive, Scope, Send, serve_exchange
from trunkline.api.route import expand_inference, list_prefixes
from trunkline.api.site import Health, Site
from trunkline.bookkeeping import Bookkeeping
from trunkline.call import Deadlines
from trunkline.catalog import Catalog, ProviderSettings
from trunkline.exchange import Exchange
from trunkline.ledger.report import make_report
from trunkline.observe.metrics import Family, Sample, write_metrics
from trunkline.outbox import Outbox
from trunkline.policy import ModelRoutingSettings
from trunkline.providers.fetch import Fetcher
from trunkline.providers.gate import Gate, GateRule, list_gate_families
from trunkline.providers.provider import Provider, ProviderSpec
from trunkline.providers.upstream import TlsOptions, find_proxy, parse_base_url
from trunkline.relay import Relay, Rules
from trunkline.routing.standing import Standings
from trunkline.routing.table import Columns, Known, Route, Row, Table, Target, fit_columns
from trunkline.settings import ModelSettings, Settings, TargetSettings
from trunkline.store.store import Store, open_store

ENGINE_WAIT_S = 30
ENGINE_ROW = Row(
    serves=("chat", "text"), images="data", constrains=True, prefill="continue_final_message"
)
"""llama.cpp's dialect; it is given images as bytes, for it shall fetch nothing."""


class EngineLink(msgspec.Struct, frozen=True):
    """Where a running engine is reached: all that a worker needs to know of it."""

    name: str
    address: str
    key: str
    model: str
    tools: bool | None = None
    images: bool = False


class Blueprint(msgspec.Struct, frozen=True):
    """Everything a worker process is built from; travels to it as a pickle.

    Args:
        settings: with secrets resolved.
        catalog: what the package knows.
        engines: that the parent runs.
        data_dir: the folder of all state; the journals lie in it.
        store: the database's file or URL, as ``open_store`` takes it.
        pepper: of the key hashes.
        proxies: the environment's proxy variables.
    """

    settings: Settings
    catalog: Catalog
    engines: tuple[EngineLink, ...]
    data_dir: Path
    store: Path | str
    pepper: bytes
    proxies: Mapping[str, str] = {}


class Gateway:
    """The gateway as an ASGI application; ``inference`` and ``outbox`` are for the direct door.

    Args:
        relay: serves inference calls.
        site: serves the rest.
        prefixes: under which all routes answer.
        openers: called on the running loop before the first request.
        closers: awaited at the end.
    """

    def __init__(
        self,
        relay: Relay,
        site: Site,
        prefixes: list[str],
        openers: Sequence[Callable[[], None]],
        closers: Sequence[Callable[[], Awaitable[None]]],
    ) -> None:
        self._site = site
        self._openers = openers
        self._prefixes = [prefix for prefix in prefixes if prefix]
        self._closers = closers
        self.outbox = Outbox()
        self.inference: dict[bytes, Callable[[Exchange], Coroutine[Any, Any, None]]] = {
            path: partial(relay.handle, form=form)
            for path, form in expand_inference(prefixes).items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's entry."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"this application serves HTTP only, not {scope['type']}")
        path: str = scope["path"]
        raw: bytes = scope.get("raw_path") or path.encode()
        handler = self.inference.get(raw)
        if handler is not None:
            await serve_exchange(handler, scope, receive, send)
            return
        for prefix in self._prefixes:
            if path.startswith(prefix + "/"):
                scope = {**scope, "path": path[len(prefix) :]}
        await self._site.app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                for open_part in self._openers:
                    open_part()
                await send({"type": "lifespan.startup.complete"})
            else:
                for close in self._closers:
                    await close()
                await send({"type": "lifespan.shutdown.complete"})
                return


def build_gateway(
    blueprint: Blueprint, find_fetcher: Callable[[], Fetcher] | None = None
) -> Gateway:
    """Put the rooms of one worker together; ``find_fetcher`` as ``Relay`` takes it."""
    settings = blueprint.settings
    store = open_store(blueprint.store)
    verifier = Verifier(store, blueprint.pepper)
    providers = build_providers(blueprint)
    table = build_table(settings, blueprint.catalog, blueprint.engines)
    books = Bookkeeping(settings, store, blueprint.data_dir)
    timing, limit_bytes = settings.stream.build(), settings.server.max_body_bytes
    rules = Rules(timing, limit_bytes, settings.ledger.drain_s)
    relay = Relay(table, providers, verifier, books.desk, find_fetcher or cache(Fetcher), rules)
    names = table.list_names()
    gates = {name: provider.gate for name, provider in providers.items()}
    site = Site(
        relay.admit,
        lambda: names,
        partial(_probe, providers, books, partial(_list_warnings, relay.standings, table)),
        _build_admin(blueprint, relay, store),
        measure=lambda: write_metrics(
            chain(
                books.list_families(),
                list_gate_families(gates),
                relay.standings.list_families(),
                relay.hedges.list_families(),
                (_count_tasks(),),
            ),
            str(os.getpid()),
        ),
        metrics_open=settings.server.metrics_open,
    )
    closers = [relay.close, books.close]
    closers += [provider.close for provider in providers.values()]
    closers += [verifier.close, partial(_close_store, store)]
    prefixes = list_prefixes(settings.server.root_path)
    return Gateway(relay, site, prefixes, [books.start], closers)


def _build_admin(blueprint: Blueprint, relay: Relay, store: Store) -> AdminDesk:
    def make_roster(actor: str) -> Roster:
        return Roster(store, blueprint.pepper, actor, _read_clock)

    def report(query: Mapping[str, str]) -> tuple[bytes, str]:
        return make_report(store, query, _read_clock())

    return AdminDesk(relay.admit, store, make_roster, report, _read_clock, relay.standings)


def _count_tasks() -> Family:
    """The tasks of the running loop: a number that only grows tells of a leak."""
    return Family(
        "trunkline_tasks",
        "Tasks of this worker's event loop: calls, connections and what runs beside them.",
        "gauge",
        (Sample(len(asyncio.all_tasks())),),
    )


def _read_clock() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def build_providers(blueprint: Blueprint) -> dict[str, Provider]:
    """A provider by ``Target.key``, engines included."""
    settings = blueprint.settings
    workers = settings.server.workers
    providers = {
        name: Provider(
            _specify(name, row, blueprint.proxies),
            row.build_signer(os.environ),
            _build_gate(name, row.build_gate_rule(), workers),
        )
        for name, row in settings.providers.items()
    }
    for engine in blueprint.engines:
        spec = ProviderSpec(
            engine.name,
            "openai",
            f"{engine.address}/v1",
            api_key=engine.key,
            start_wait_s=ENGINE_WAIT_S,
        )
        name = f"local/{engine.name}"
        rule = settings.engines[engine.name].build_gate_rule()
        providers[name] = Provider(spec, gate=_build_gate(name, rule, workers))
    return providers


def _build_gate(name: str, rule: GateRule | None, workers: int) -> Gate | None:
    return None if rule is None else Gate(name, rule.divide(workers))


def _specify(name: str, row: ProviderSettings, proxies: Mapping[str, str]) -> ProviderSpec:
    if row.wire is None or row.base_url is None:
        raise ValueError(f"provider {name} is not complete")
    origin, _ = parse_base_url(row.base_url)
    return ProviderSpec(
        name,
        row.wire,
        row.base_url,
        api_key=row.api_key,
        auth=row.auth or "bearer",
        headers=row.headers or {},
        tls=TlsOptions(row.ca_file, row.cert_file, row.key_file),
        proxy=row.proxy or find_proxy(origin, proxies),
    )


def build_table(settings: Settings, catalog: Catalog, engines: tuple[EngineLink, ...]) -> Table:
    """The routes of the settings."""
    known = {name: row.build() for name, row in catalog.models.items()}
    rows = {name: provider.build_row() for name, provider in settings.providers.items()}
    links = {engine.name: engine for engine in engines}
    default, rule = settings.deadlines.build({}), settings.routing.build(ModelRoutingSettings())
    routes = _list_native(catalog, rows, known, default)
    routes = {name: msgspec.structs.replace(route, rule=rule) for name, route in routes.items()}
    for engine in engines:
        context = settings.engines[engine.name].context
        columns = Columns(images=engine.images, tools=engine.tools, context_window=context)
        name = f"local/{engine.name}"
        routes[name] = Route(name, (_engine_target(engine),), columns, default, rule=rule)
    for name, model in settings.models.items():
        targets = tuple(_build_target(target, links, rows) for target in model.targets)
        before = routes.get(name)
        columns = fit_columns(known.get(name, Known()).columns, targets)
        if before is not None and not targets:
            columns = before.columns
        routes[name] = Route(
            name,
            targets or (before.targets if before else ()),
            _override(columns, model),
            settings.deadlines.build(model.deadlines),
            rule=settings.routing.build(model.routing),
        )
    return Table(routes, rows, known, settings.demo.stand_in, default, rule)


def _build_target(
    target: TargetSettings, links: Mapping[str, EngineLink], rows: Mapping[str, Row]
) -> Target:
    if target.provider == "local":
        built = _engine_target(links[target.model])
    else:
        built = Target(target.provider, target.model, rows[target.provider])
    return msgspec.structs.replace(built, weight=target.weight, on=target.on)


def _list_native(
    catalog: Catalog, rows: Mapping[str, Row], known: Mapping[str, Known], deadlines: Deadlines
) -> dict[str, Route]:
    """Routes of the catalog's names that a configured provider serves by itself."""
    routes = {}
    for name, model in catalog.models.items():
        targets = tuple(
            Target(provider, model.native[provider], row)
            for provider, row in rows.items()
            if provider in model.native
        )
        if targets:
            columns = fit_columns(known[name].columns, targets)
            routes[name] = Route(name, targets, columns, deadlines)
    return routes


def _engine_target(engine: EngineLink) -> Target:
    return Target("local", engine.model, ENGINE_ROW, upstream=f"local/{engine.name}")


def _override(columns: Columns, model: ModelSettings) -> Columns:
    given = {
        name: value
        for name in columns.__struct_fields__
        if (value := getattr(model, name)) is not None
    }
    return msgspec.structs.replace(columns, **given)


def _list_warnings(standings: Standings, table: Table) -> dict[str, str]:
    return standings.list_warnings(table.routes.values(), time.perf_counter_ns() / 1e9)


async def _probe(
    providers: Mapping[str, Provider],
    books: Bookkeeping,
    list_circuits: Callable[[], dict[str, str]],
) -> Health:
    """How the gateway is: engines that do not answer, what the accounts lack, and who fails."""
    own = {name: provider for name, provider in providers.items() if provider.spec.own}
    answers = await asyncio.gather(*(provider.probe() for provider in own.values()))
    down = {name: "not running" for name, up in zip(own, answers, strict=True) if not up}
    await books.check()
    return Health(down | books.list_faults(), books.list_warnings() | list_circuits())


async def _close_store(store: Store) -> None:
    store.close()
