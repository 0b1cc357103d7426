"""What a Claude model takes, read from its name: the API refuses with 400 what a model does not.

Anthropic's pages "Thinking", "Effort", "Structured outputs", the migration guides of Claude
Haiku 4.5, Opus 4.7, Sonnet 5, Fable 5.1, Opus 5.5 and Haiku 5.5, and the models named in the
types of its Python SDK 2.12.0 (all read 2026-11-22). A Claude whose name tells no version is
taken for a current one. Any other name is a model behind a server that speaks the same API,
llama.cpp's for instance: such servers take the older fields and check little.
"""

import re
from typing import Final, Literal

import msgspec

_NAME: Final = re.compile(r"claude-(?:([a-z]+)-)?v?(\d{1,2})(?:[.-](\d{1,2}))?(?!\d)(?:-([a-z]+))?")
_CURRENT: Final = (99, 0)

Off = Literal["", "disabled", "between_tools", "never"]

_OFF: Final[dict[tuple[str, tuple[int, int]], Off]] = {
    ("opus", (5, 0)): "disabled",
    ("sonnet", (5, 0)): "disabled",
    ("haiku", (5, 5)): "disabled",
    ("sonnet", (5, 5)): "between_tools",
}
"""Models that think unasked, and the setting that comes nearest to not thinking."""


class ClaudeModel(msgspec.Struct, frozen=True):
    """A model at an upstream of this format.

    Args:
        version: major and minor; (0, 0) where the model is no Claude.
        family: ``opus``, ``sonnet`` and so on, "" where the name has none.
    """

    version: tuple[int, int] = (0, 0)
    family: str = ""

    @property
    def is_claude(self) -> bool:
        """The model is Anthropic's, and its rules hold."""
        return self.version > (0, 0)

    @property
    def thinking(self) -> Literal["never", "budget", "adaptive"]:
        """How it is told to think: by tokens, or by words for the effort."""
        if self.version >= (4, 6):
            return "adaptive"
        return "never" if (0, 0) < self.version < (3, 7) else "budget"

    @property
    def off(self) -> Off:
        """What ``thinking.type`` asks it not to think: "" for none, ``never`` where it must."""
        if not self.is_claude:
            return "disabled"
        if self.version < (5, 0):
            return ""
        return _OFF.get((self.family, self.version), "never")

    @property
    def takes_xhigh(self) -> bool:
        """It knows an effort between ``high`` and ``max``."""
        return self.version >= (4, 7)

    @property
    def fixes_sampling(self) -> bool:
        """It refuses temperature, top_p and top_k."""
        return self.version >= (4, 7)

    @property
    def takes_one_sampler(self) -> bool:
        """It refuses temperature and top_p together."""
        return self.version >= (4, 1)

    @property
    def holds_schemas(self) -> bool:
        """Its answers and its tools' arguments can be held to a schema."""
        return self.version >= (4, 5)

    @property
    def forces_tools(self) -> bool:
        """It can be made to call a tool."""
        return self.version <= (5, 0) or self.family == "haiku"


def read_model(name: str) -> ClaudeModel:
    """The model of an upstream's name, whatever stands around the part that says so."""
    lower = name.lower()
    found = _NAME.search(lower)
    if found is not None:
        before, major, minor, after = found.groups()
        return ClaudeModel((int(major), int(minor or 0)), before or after or "")
    return ClaudeModel(_CURRENT) if "claude" in lower else ClaudeModel()
