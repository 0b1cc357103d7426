"""The settings of a gateway: frozen values from a TOML file and the environment."""

import ipaddress
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from trunkline.call import Deadlines
from trunkline.catalog import Catalog, Positive, ProviderSettings, Section
from trunkline.ledger.price_book import PriceBook
from trunkline.ledger.price_rule import PriceSettings, find_faults
from trunkline.limits import address as limits_address
from trunkline.policy import ModelRoutingSettings, RoutingSettings
from trunkline.providers.gate import GateRule
from trunkline.providers.origin import parse_base_url
from trunkline.relay import StreamTiming
from trunkline.routing.rule import Want
from trunkline.routing.table import PromptMode
from trunkline.store import address
from trunkline.toml import FileError, FileFault, read_toml, write_faults

_log = logging.getLogger(__name__)

DeadlineName = Literal["connect_s", "first_token_s", "idle_s", "total_s"]
PLACES = ("region", "project", "location", "resource")
"""Parts of an address that only the operator knows."""
SECRETS = ("api_key", "access_key", "secret_key", "session_token")
DEMO_ENGINE = "smollm2"
DEMO_MODEL = "smollm2-135m-instruct"


class ServerSettings(Section, frozen=True, kw_only=True):
    """Where the gateway listens and how it stops."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 5003
    workers: Positive = 1
    drain_s: Annotated[float, Meta(ge=0)] = 30
    max_body_bytes: Positive = 20_000_000
    root_path: str = ""
    metrics_open: bool = False

    @property
    def is_public(self) -> bool:
        """Whether others than this machine can reach it."""
        if self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True


class StoreSettings(Section, frozen=True, kw_only=True):
    """Where accounts, keys and the ledger are kept, and where limits are counted."""

    url: str = "sqlite"
    limits_url: str = "memory"
    limits_away: Literal["closed", "open"] = "closed"


class LedgerSettings(Section, frozen=True, kw_only=True):
    """How long single calls are kept, and how long one is read on whose client has left."""

    keep_days: Positive = 400
    drain_s: Annotated[float, Meta(gt=0, le=3600)] = 30


class EngineSettings(Section, frozen=True, kw_only=True):
    """A model that the gateway runs itself."""

    model: str
    context: Positive = 4096
    slots: Positive = 4
    mmproj: str | None = None
    threads: Positive | None = None
    queue: Annotated[int, Meta(ge=0)] | None = None
    queue_s: Annotated[float, Meta(gt=0)] | None = None

    def build_gate_rule(self) -> GateRule:
        """As many calls at once as it has slots."""
        return GateRule.make(self.slots, self.queue, self.queue_s)


class TargetSettings(Section, frozen=True, kw_only=True):
    """One place that can answer for a model."""

    provider: str
    model: str
    weight: Positive = 1
    on: tuple[Want, ...] = ()


class ModelSettings(Section, frozen=True, kw_only=True):
    """A public model name: its targets, and columns that override the catalog's."""

    targets: tuple[TargetSettings, ...] = ()
    prompt_mode: PromptMode | None = None
    images: bool | None = None
    tools: bool | None = None
    context_window: Positive | None = None
    max_output: Positive | None = None
    default_max_tokens: Positive | None = None
    reasoning: bool | None = None
    fixed_sampling: bool | None = None
    deadlines: dict[DeadlineName, Annotated[float, Meta(gt=0)]] = msgspec.field(
        default_factory=dict
    )
    routing: ModelRoutingSettings = ModelRoutingSettings()


class DeadlineSettings(Section, frozen=True, kw_only=True):
    """Seconds that the parts of an attempt may take."""

    connect_s: Annotated[float, Meta(gt=0)] = 5
    first_token_s: Annotated[float, Meta(gt=0)] = 60
    idle_s: Annotated[float, Meta(gt=0)] = 60
    total_s: Annotated[float, Meta(gt=0)] = 600

    def build(self, overrides: Mapping[DeadlineName, float]) -> Deadlines:
        """The deadlines of a model."""
        return Deadlines(**(msgspec.structs.asdict(self) | dict(overrides)))


class StreamSettings(Section, frozen=True, kw_only=True):
    """When a streamed answer starts without content, and how often silence is broken."""

    hold_s: Annotated[float, Meta(gt=0)] = 20
    keepalive_s: Annotated[float, Meta(gt=0)] = 15

    def build(self) -> StreamTiming:
        """The same for the relay."""
        return StreamTiming(self.hold_s, self.keepalive_s)


class DemoSettings(Section, frozen=True, kw_only=True):
    """The model that answers catalog names without a target, if any."""

    stand_in: str = ""


class Settings(Section, frozen=True, kw_only=True):
    """The whole file."""

    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    providers: dict[str, ProviderSettings] = msgspec.field(default_factory=dict)
    engines: dict[str, EngineSettings] = msgspec.field(default_factory=dict)
    models: dict[str, ModelSettings] = msgspec.field(default_factory=dict)
    deadlines: DeadlineSettings = DeadlineSettings()
    routing: RoutingSettings = RoutingSettings()
    ledger: LedgerSettings = LedgerSettings()
    stream: StreamSettings = StreamSettings()
    prices: PriceSettings = PriceSettings()
    demo: DemoSettings = DemoSettings()


def make_demo_settings() -> Settings:
    """The settings without a file: the default model answers every catalog name."""
    return Settings(
        engines={DEMO_ENGINE: EngineSettings(model=DEMO_MODEL)},
        demo=DemoSettings(stand_in=f"local/{DEMO_ENGINE}"),
    )


def read_settings(path: Path, catalog: Catalog, environ: Mapping[str, str]) -> Settings:
    """The settings of a file, secrets resolved and provider rows completed.

    Raises:
        FileError: one line for every fault.
    """
    settings, text = read_toml(path, Settings)
    faults: list[FileFault] = []
    providers = {
        name: _complete_provider(name, row, catalog, environ, faults)
        for name, row in settings.providers.items()
    }
    store = _complete_store(settings.store, environ, faults)
    _check_models(settings, catalog, faults)
    faults += find_faults(settings.prices, settings.providers)
    if faults:
        raise FileError(write_faults(path, text, faults))
    return msgspec.structs.replace(settings, providers=providers, store=store)


def _complete_provider(
    name: str,
    given: ProviderSettings,
    catalog: Catalog,
    environ: Mapping[str, str],
    faults: list[FileFault],
) -> ProviderSettings:
    """The operator's words on top of the row's, addresses filled in and secrets resolved."""
    steps = ("providers", name)
    if name == "local":
        faults.append(FileFault(steps, "'local' is the name of the engines; choose another"))
    if "/" in name:
        faults.append(FileFault(steps, "expected a name without '/', which splits vendor/model"))
    row = catalog.providers.get(name, ProviderSettings())
    words = {
        field: value
        for field in given.__struct_fields__
        if (value := getattr(given, field)) is not None
    }
    full = msgspec.structs.replace(row, **words).complete()
    if full.wire is None:
        faults.append(FileFault((*steps, "wire"), "is required for a provider that is new"))
    for field in ("queue", "queue_s"):
        if full.concurrent is None and getattr(full, field) is not None:
            text = "says nothing without concurrent: then no call has to wait"
            faults.append(FileFault((*steps, field), text))
    if given.prices and given.prices not in (known := PriceBook().list_names()):
        lists = ", ".join(known)
        faults.append(FileFault((*steps, "prices"), f"expected the name of a list ({lists})"))
    base_url = _fill_address(full, steps, faults)
    secrets = _resolve_secrets(full, steps, environ, faults)
    full = msgspec.structs.replace(full, base_url=base_url, **secrets)
    if not faults:
        try:
            full.build_signer(environ)
        except ValueError as error:
            faults.append(FileFault((*steps, "auth"), str(error)))
    return full


def _fill_address(
    full: ProviderSettings, steps: tuple[str, str], faults: list[FileFault]
) -> str | None:
    """The base URL with the operator's region, project, location and resource in it."""
    if full.base_url is None:
        faults.append(FileFault((*steps, "base_url"), "is required: this row has none of its own"))
        return None
    base_url = full.base_url
    for field in PLACES:
        mark, value = f"{{{field}}}", getattr(full, field)
        if mark in base_url:
            if not value:
                faults.append(FileFault((*steps, field), "is required: the address holds it"))
            base_url = base_url.replace(mark, value or "unknown")
    try:
        parse_base_url(base_url)
    except ValueError as error:
        faults.append(FileFault((*steps, "base_url"), str(error)))
    return base_url


def _resolve_secrets(
    full: ProviderSettings,
    steps: tuple[str, str],
    environ: Mapping[str, str],
    faults: list[FileFault],
) -> dict[str, str]:
    secrets = {}
    for field in SECRETS:
        text = getattr(full, field)
        if not text:
            continue
        if not text.startswith(("env:", "file:")):
            _log.warning(
                "providers.%s.%s stands in the file itself; env:NAME or file:/path keep it out",
                steps[1],
                field,
            )
        try:
            secrets[field] = _resolve_secret(text, environ)
        except ValueError as error:
            faults.append(FileFault((*steps, field), str(error)))
            secrets[field] = ""
    return secrets


def _resolve_secret(text: str, environ: Mapping[str, str]) -> str:
    """The secret behind ``env:NAME`` or ``file:/path``; any other text is the secret itself."""
    secret = text
    if text.startswith("env:"):
        name = text.removeprefix("env:")
        secret = environ.get(name, "")
        if not secret:
            raise ValueError(f"expected the environment variable {name} to be set")
    elif text.startswith("file:"):
        path = text.removeprefix("file:")
        try:
            secret = Path(path).read_text("utf-8").strip()
        except (OSError, ValueError):
            secret = ""
        if not secret:
            raise ValueError(f"expected a readable text file at {path}")
    if not (secret.isascii() and secret.isprintable()):
        raise ValueError("expected a secret of printable ASCII characters on one line")
    return secret


def _complete_store(
    store: StoreSettings, environ: Mapping[str, str], faults: list[FileFault]
) -> StoreSettings:
    """The same with the URLs behind ``env:NAME`` or ``file:/path``: they may hold passwords."""
    homes = {"url": address, "limits_url": limits_address}
    urls = {}
    for field, home in homes.items():
        text = url = getattr(store, field)
        try:
            url = _resolve_secret(text, environ)
            home.check_url(url)
        except ValueError as error:
            faults.append(FileFault(("store", field), str(error)))
        if url == text and home.holds_password(url):
            _log.warning(
                "store.%s holds a password in the file itself; env:NAME or file:/path keep it out",
                field,
            )
        urls[field] = url
    return msgspec.structs.replace(store, **urls)


def _check_models(settings: Settings, catalog: Catalog, faults: list[FileFault]) -> None:
    served = {f"local/{name}" for name in settings.engines}
    served |= {
        name for name, row in catalog.models.items() if row.native.keys() & settings.providers
    }
    for name, model in settings.models.items():
        if not model.targets and name not in served:
            faults.append(FileFault(("models", name, "targets"), "expected at least one target"))
        if model.targets and all(target.on for target in model.targets):
            message = "expected a target without it: one must be tried first"
            faults.append(FileFault(("models", name, "targets", 0, "on"), message))
        for position, target in enumerate(model.targets):
            steps = ("models", name, "targets", position)
            if target.provider == "local":
                if target.model not in settings.engines:
                    faults.append(
                        FileFault((*steps, "model"), f"expected an engine, got '{target.model}'")
                    )
            elif target.provider not in settings.providers:
                known = ", ".join([*settings.providers, "local"])
                faults.append(
                    FileFault((*steps, "provider"), f"expected a configured provider ({known})")
                )
    stand_in = settings.demo.stand_in
    if stand_in and stand_in not in served | set(settings.models):
        faults.append(FileFault(("demo", "stand_in"), "expected a configured model or engine"))
