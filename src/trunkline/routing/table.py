"""The routes of a gateway: which targets stand behind which public model name."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from trunkline.call import Deadlines
from trunkline.routing.rule import RoutingRule, Want
from trunkline.wire.continuation import Prefill
from trunkline.wire.rewrite import Rewrite
from trunkline.wire.template import TemplateName

PromptMode = Literal["raw", "user_message"] | TemplateName
Wire = Literal["openai", "anthropic", "gemini", "bedrock", "cohere", "llm-engine"]
Operation = Literal["chat", "text", "embeddings"]
OPERATIONS: Final[tuple[Operation, ...]] = ("chat", "text", "embeddings")


class Row(msgspec.Struct, frozen=True):
    """What is known of a provider's dialect; a row of data, for no name is compared in code.

    Args:
        wire: the format it speaks.
        serves: operations that exist there.
        paths: of operations that lie elsewhere than the wire says; may hold ``{model}``.
        drops: parameters that it refuses or ignores: never sent, always told.
        rewrites: named changes of a request, from the closed set of ``wire.rewrite``.
        images: whether it fetches image addresses itself, wants bytes, or takes none.
        constrains: it can hold any model's answer to a JSON schema, so tools can be emulated.
        caller_key: the caller's ``x-openai-api-key`` replaces the gateway's own key.
        prefill: how it is given the beginning of an answer to go on with; ``none`` where it cannot.
    """

    wire: Wire = "openai"
    serves: tuple[Operation, ...] = OPERATIONS
    paths: Mapping[Operation, str] = {}
    drops: tuple[str, ...] = ()
    rewrites: tuple[Rewrite, ...] = ()
    images: Literal["url", "data", "none"] = "url"
    constrains: bool = False
    caller_key: bool = False
    prefill: Prefill = "none"


class Columns(msgspec.Struct, frozen=True):
    """What is known of a model besides its name; None where nobody said.

    ``fixed_sampling`` models refuse a temperature.
    """

    prompt_mode: PromptMode = "user_message"
    images: bool | None = None
    tools: bool | None = None
    reasoning: bool | None = None
    fixed_sampling: bool = False
    context_window: int | None = None
    max_output: int | None = None
    default_max_tokens: int | None = None


class Target(msgspec.Struct, frozen=True):
    """One place that can answer: a provider and its own name for the model.

    ``upstream`` names the engine where the provider is ``local``. ``weight`` is its share where
    the policy goes by shares. A target with ``on`` is tried only when one before it failed so.
    ``key`` says whose connections it uses, the provider's or one engine's; ``label`` is
    ``provider/model``, as the answer's header names it. Both follow from the others.
    """

    provider: str
    model: str
    row: Row = Row()
    upstream: str = ""
    weight: int = 1
    on: tuple[Want, ...] = ()
    key: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "key", self.upstream or self.provider)
        msgspec.structs.force_setattr(self, "label", f"{self.provider}/{self.model}")


def fit_columns(columns: Columns, targets: Sequence[Target]) -> Columns:
    """The catalog's columns for a name that is mapped to these targets.

    That its own model knows no tools counts only where they can be emulated: elsewhere the name
    may stand for another model, which decides itself.
    """
    if columns.tools is False and not all(target.row.constrains for target in targets):
        return msgspec.structs.replace(columns, tools=None)
    return columns


class Route(msgspec.Struct, frozen=True):
    """A public model name and the targets behind it, in order of preference."""

    name: str
    targets: tuple[Target, ...]
    columns: Columns
    deadlines: Deadlines
    stand_in: bool = False
    rule: RoutingRule = RoutingRule()

    def find_target(self, label: str) -> Target:
        """The target of that label: of several, any is as good, for they are the same."""
        targets = self.targets
        if len(targets) == 1:
            return targets[0]
        return next(each for each in targets if each.label == label)


class Known(msgspec.Struct, frozen=True):
    """A name of the model catalog: its columns, and what became of it.

    ``status`` is retired where neither its vendor nor anybody else can serve it, unavailable
    where it never was public; ``replacement`` is the heir that its vendor names; ``native`` are
    the providers that have it under a name of their own.
    """

    columns: Columns = Columns()
    status: Literal["active", "retired", "unavailable"] = "active"
    retired_on: str = ""
    replacement: str = ""
    native: tuple[str, ...] = ()


class Table(msgspec.Struct, frozen=True):
    """All routes, and the rules for names that have none.

    Args:
        routes: by public name; engines' ``local/NAME`` and the names that a configured
            provider serves by itself are among them.
        vendors: rows by provider name, for ``vendor/model`` names without a route.
        catalog: the names that the gateway knows by itself.
        stand_in: public name that answers catalog names without a target, or "".
        deadlines: for ``vendor/model`` names.
        rule: for the same.
    """

    routes: Mapping[str, Route]
    vendors: Mapping[str, Row]
    catalog: Mapping[str, Known]
    stand_in: str
    deadlines: Deadlines
    rule: RoutingRule = RoutingRule()

    def list_names(self) -> list[str]:
        """Every public name that would be answered, sorted within its sort."""
        names = sorted(self.routes)
        if self.stand_in:
            names += [name for name in self.catalog if name not in self.routes]
        return names
