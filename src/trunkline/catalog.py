"""What the package knows by itself: rows of providers, and the names of models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from trunkline.providers.credential import Signer
from trunkline.providers.gate import GateRule
from trunkline.providers.provider import Auth
from trunkline.providers.signing import SigningOptions, build_signer
from trunkline.routing.table import (
    OPERATIONS,
    Columns,
    Known,
    Operation,
    PromptMode,
    Row,
    Wire,
)
from trunkline.toml import read_toml
from trunkline.wire.continuation import Prefill
from trunkline.wire.rewrite import Rewrite
from trunkline.wire.template import TemplateName

Positive = Annotated[int, Meta(ge=1)]


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the file."""


class _WireDefaults(Section, frozen=True, kw_only=True):
    """What a row of a wire has where neither it nor the operator says otherwise."""

    auth: Auth = "bearer"
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    serves: tuple[Operation, ...] = ("chat",)
    images: Literal["url", "data", "none"] = "url"


_DEFAULTS: Final[dict[Wire, _WireDefaults]] = {
    "openai": _WireDefaults(serves=OPERATIONS),
    "anthropic": _WireDefaults(auth="x-api-key", headers={"anthropic-version": "2023-06-01"}),
    "gemini": _WireDefaults(auth="x-goog-api-key", images="data"),
    "bedrock": _WireDefaults(auth="aws-sigv4", images="data"),
    "cohere": _WireDefaults(),
    "llm-engine": _WireDefaults(auth="basic", serves=("chat", "text"), images="none"),
}


class ProviderSettings(Section, frozen=True, kw_only=True):
    """An upstream server: a catalog row, or the operator's words on one, or a new row.

    Fields are described in docs/providers.md. ``tier`` says how far a row has been tried:
    against answers recorded from the vendor's reference, against a real server in our tests, or
    live at the vendor. ``prices`` names its list among the shipped ones; "" is none.
    """

    title: str | None = None
    wire: Wire | None = None
    base_url: str | None = None
    api_key: str = ""
    auth: Auth | None = None
    headers: dict[str, str] | None = None
    serves: tuple[Operation, ...] | None = None
    paths: dict[Operation, str] | None = None
    drops: tuple[str, ...] | None = None
    rewrites: tuple[Rewrite, ...] | None = None
    images: Literal["url", "data", "none"] | None = None
    constrains: bool | None = None
    caller_key: bool | None = None
    prefill: Prefill | None = None
    prices: str | None = None
    tier: Literal["recorded", "real server", "live"] | None = None
    region: str | None = None
    project: str | None = None
    location: str | None = None
    resource: str | None = None
    service_account: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    session_token: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    proxy: str | None = None
    concurrent: Positive | None = None
    queue: Annotated[int, Meta(ge=0)] | None = None
    queue_s: Annotated[float, Meta(gt=0)] | None = None

    def complete(self) -> "ProviderSettings":
        """The same with its wire's defaults in the fields that nobody filled."""
        defaults = _DEFAULTS[self.wire or "openai"]
        return msgspec.structs.replace(
            self,
            **{
                name: getattr(defaults, name)
                for name in defaults.__struct_fields__
                if getattr(self, name) is None
            },
        )

    def build_row(self) -> Row:
        """The dialect, as routing knows it."""
        given = {
            name: value
            for name in Row.__struct_fields__
            if (value := getattr(self, name)) is not None
        }
        return Row(**given)

    def build_gate_rule(self) -> GateRule | None:
        """How many calls run at once and how many wait; None where all may run."""
        if self.concurrent is None:
            return None
        return GateRule.make(self.concurrent, self.queue, self.queue_s)

    def build_signer(self, environ: Mapping[str, str]) -> Signer | None:
        """What signs the requests; raises ``ValueError`` as ``signing.build_signer`` does."""
        given = {
            name: value
            for name in SigningOptions.__struct_fields__
            if (value := getattr(self, name)) is not None
        }
        options = SigningOptions(**given)
        return build_signer(self.auth or "bearer", self.base_url or "", options, environ)


class CatalogRow(Section, frozen=True, kw_only=True):
    """A name of the model catalog; the head of models.toml says what each column means."""

    vendor: str
    family: str
    kind: Literal["base", "instruct", "chat", "encdec"]
    context_window: Positive | None = None
    max_output: Positive | None = None
    default_max_tokens: Positive | None = None
    prompt_mode: PromptMode | None = None
    template: TemplateName | None = None
    images: bool = False
    tools: bool = False
    reasoning: bool = False
    fixed_sampling: bool = False
    parameters: tuple[str, ...] | None = None
    hf_repo: str | None = None
    status: Literal["active", "retired", "unavailable"] = "active"
    retired_on: str = ""
    replacement: str = ""
    native: dict[str, str] = {}

    def build(self) -> Known:
        """The same for routing."""
        mode: PromptMode = "user_message" if self.kind == "chat" else "raw"
        columns = Columns(
            prompt_mode=self.prompt_mode or mode,
            images=self.images or None,  # what a name is mapped to may take some
            tools=self.tools,
            reasoning=self.reasoning,
            fixed_sampling=self.fixed_sampling,
            context_window=self.context_window,
            max_output=self.max_output,
            default_max_tokens=self.default_max_tokens,
        )
        native = tuple(self.native)
        return Known(columns, self.status, self.retired_on, self.replacement, native)


class Catalog(Section, frozen=True, kw_only=True):
    """What the gateway knows by itself: provider rows and model names."""

    providers: dict[str, ProviderSettings] = {}
    models: dict[str, CatalogRow] = {}


def read_catalog() -> Catalog:
    """The catalog that the package ships."""
    room = Path(__file__).parent / "providers"
    rows, _ = read_toml(room / "catalog.toml", Catalog)
    names, _ = read_toml(room / "models.toml", Catalog)
    return Catalog(providers=rows.providers, models=names.models)
