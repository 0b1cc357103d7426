"""The routes of a gateway: which targets stand behind which public model name."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from trunkline.call import Deadlines

PromptMode = Literal["raw", "user_message"]
Wire = Literal["openai"]


class Columns(msgspec.Struct, frozen=True):
    """What is known of a model besides its name; None where nobody said."""

    prompt_mode: PromptMode = "user_message"
    images: bool | None = None
    tools: bool | None = None
    context_window: int | None = None
    max_output: int | None = None
    default_max_tokens: int | None = None


class Target(msgspec.Struct, frozen=True):
    """One place that can answer: a provider and its own name for the model.

    ``upstream`` names the engine where the provider is ``local``.
    """

    provider: str
    model: str
    wire: Wire = "openai"
    upstream: str = ""

    @property
    def key(self) -> str:
        """Whose connections it uses: the provider's, or one engine's."""
        return self.upstream or self.provider

    @property
    def label(self) -> str:
        """``provider/model``, as the answer's header names it."""
        return f"{self.provider}/{self.model}"


class Route(msgspec.Struct, frozen=True):
    """A public model name and the targets behind it, in order of preference."""

    name: str
    targets: tuple[Target, ...]
    columns: Columns
    deadlines: Deadlines
    stand_in: bool = False


class Table(msgspec.Struct, frozen=True):
    """All routes, and the rules for names that have none.

    Args:
        routes: by public name, engines' ``local/NAME`` included.
        vendors: wire by provider name, for ``vendor/model`` names without a route.
        catalog: columns of the names that the gateway knows by itself.
        stand_in: public name that answers catalog names without a target, or "".
        deadlines: for ``vendor/model`` names.
    """

    routes: Mapping[str, Route]
    vendors: Mapping[str, Wire]
    catalog: Mapping[str, Columns]
    stand_in: str
    deadlines: Deadlines

    def list_names(self) -> list[str]:
        """Every public name that would be answered, sorted within its sort."""
        names = sorted(self.routes)
        if self.stand_in:
            names += [name for name in self.catalog if name not in self.routes]
        return names
