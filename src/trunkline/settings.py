"""The settings of a gateway: frozen values from a TOML file and the environment."""

import ipaddress
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from trunkline.call import Deadlines
from trunkline.providers.origin import parse_base_url
from trunkline.relay import StreamTiming
from trunkline.routing.table import PromptMode, Wire
from trunkline.toml import FileError, FileFault, read_toml, write_faults

_log = logging.getLogger(__name__)

Positive = Annotated[int, Meta(ge=1)]
DeadlineName = Literal["connect_s", "first_token_s", "idle_s", "total_s"]
DEMO_ENGINE = "smollm2"
DEMO_MODEL = "smollm2-135m-instruct"


class _Section(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the file."""


class ServerSettings(_Section, frozen=True, kw_only=True):
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


class StoreSettings(_Section, frozen=True, kw_only=True):
    """Where accounts and keys are kept."""

    url: str = "sqlite"
    limits_url: str = "memory"


class ProviderSettings(_Section, frozen=True, kw_only=True):
    """An upstream server: a catalog row's name with what differs, or a new row."""

    wire: Wire | None = None
    base_url: str | None = None
    api_key: str = ""
    auth: Literal["bearer", "none"] = "bearer"
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    proxy: str | None = None


class EngineSettings(_Section, frozen=True, kw_only=True):
    """A model that the gateway runs itself."""

    model: str
    context: Positive = 4096
    slots: Positive = 4
    threads: Positive | None = None


class TargetSettings(_Section, frozen=True, kw_only=True):
    """One place that can answer for a model."""

    provider: str
    model: str
    weight: Positive = 1


class ModelSettings(_Section, frozen=True, kw_only=True):
    """A public model name: its targets, and columns that override the catalog's."""

    targets: tuple[TargetSettings, ...] = ()
    prompt_mode: PromptMode | None = None
    images: bool | None = None
    tools: bool | None = None
    context_window: Positive | None = None
    max_output: Positive | None = None
    default_max_tokens: Positive | None = None
    deadlines: dict[DeadlineName, Annotated[float, Meta(gt=0)]] = {}


class DeadlineSettings(_Section, frozen=True, kw_only=True):
    """Seconds that the parts of an attempt may take."""

    connect_s: Annotated[float, Meta(gt=0)] = 5
    first_token_s: Annotated[float, Meta(gt=0)] = 60
    idle_s: Annotated[float, Meta(gt=0)] = 60
    total_s: Annotated[float, Meta(gt=0)] = 600

    def build(self, overrides: Mapping[DeadlineName, float]) -> Deadlines:
        """The deadlines of a model."""
        return Deadlines(**(msgspec.structs.asdict(self) | dict(overrides)))


class StreamSettings(_Section, frozen=True, kw_only=True):
    """When a streamed answer starts without content, and how often silence is broken."""

    hold_s: Annotated[float, Meta(gt=0)] = 20
    keepalive_s: Annotated[float, Meta(gt=0)] = 15

    def build(self) -> StreamTiming:
        """The same for the relay."""
        return StreamTiming(self.hold_s, self.keepalive_s)


class DemoSettings(_Section, frozen=True, kw_only=True):
    """The model that answers catalog names without a target, if any."""

    stand_in: str = ""


class Settings(_Section, frozen=True, kw_only=True):
    """The whole file."""

    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    providers: dict[str, ProviderSettings] = {}
    engines: dict[str, EngineSettings] = {}
    models: dict[str, ModelSettings] = {}
    deadlines: DeadlineSettings = DeadlineSettings()
    stream: StreamSettings = StreamSettings()
    demo: DemoSettings = DemoSettings()


class CatalogRow(_Section, frozen=True, kw_only=True):
    """A name of the model catalog."""

    kind: Literal["base", "instruct", "chat"]


class Catalog(_Section, frozen=True, kw_only=True):
    """What the gateway knows by itself: provider rows and model names."""

    providers: dict[str, ProviderSettings] = {}
    models: dict[str, CatalogRow] = {}


def read_catalog() -> Catalog:
    """The catalog that the package ships."""
    room = Path(__file__).parent / "providers"
    rows, _ = read_toml(room / "catalog.toml", Catalog)
    names, _ = read_toml(room / "models.toml", Catalog)
    return Catalog(providers=rows.providers, models=names.models)


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
    _check_store(settings.store, faults)
    _check_models(settings, faults)
    if faults:
        raise FileError(write_faults(path, text, faults))
    return msgspec.structs.replace(settings, providers=providers)


def _complete_provider(
    name: str,
    given: ProviderSettings,
    catalog: Catalog,
    environ: Mapping[str, str],
    faults: list[FileFault],
) -> ProviderSettings:
    row = catalog.providers.get(name, ProviderSettings())
    steps = ("providers", name)
    if name == "local":
        faults.append(FileFault(steps, "'local' is the name of the engines; choose another"))
    if "/" in name:
        faults.append(FileFault(steps, "expected a name without '/', which splits vendor/model"))
    wire, base_url = given.wire or row.wire, given.base_url or row.base_url
    if wire is None:
        faults.append(FileFault((*steps, "wire"), "is required for a provider that is new"))
    if base_url is None:
        faults.append(FileFault((*steps, "base_url"), "is required for a provider that is new"))
    else:
        try:
            parse_base_url(base_url)
        except ValueError as error:
            faults.append(FileFault((*steps, "base_url"), str(error)))
    if given.api_key and not given.api_key.startswith(("env:", "file:")):
        _log.warning(
            "providers.%s.api_key stands in the file itself; env:NAME or file:/path keep it out",
            name,
        )
    try:
        api_key = _resolve_secret(given.api_key, environ)
    except ValueError as error:
        faults.append(FileFault((*steps, "api_key"), str(error)))
        api_key = ""
    return msgspec.structs.replace(given, wire=wire, base_url=base_url, api_key=api_key)


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


def _check_store(store: StoreSettings, faults: list[FileFault]) -> None:
    if store.url != "sqlite":
        faults.append(FileFault(("store", "url"), 'expected "sqlite" (this version has no other)'))
    if store.limits_url != "memory":
        faults.append(
            FileFault(("store", "limits_url"), 'expected "memory" (this version has no other)')
        )


def _check_models(settings: Settings, faults: list[FileFault]) -> None:
    engines = {f"local/{name}" for name in settings.engines}
    for name, model in settings.models.items():
        if not model.targets and name not in engines:
            faults.append(FileFault(("models", name, "targets"), "expected at least one target"))
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
    if stand_in and stand_in not in engines | set(settings.models):
        faults.append(FileFault(("demo", "stand_in"), "expected a configured model or engine"))
