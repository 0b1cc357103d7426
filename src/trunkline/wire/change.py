"""What was changed in a request for its target, as ``x-trunkline-changes`` tells it."""

import msgspec

from trunkline.errors import GatewayError


class Changes(msgspec.Struct, eq=False, gc=False):
    """Collects the changes of one attempt, in order.

    Args:
        strict: the client wants no drop and no clamp; then either is a 400 that names it
            (``x-trunkline-strict: true``).
        words: what was changed.
    """

    strict: bool = False
    words: list[str] = []
    _assumed: frozenset[str] = frozenset()

    def assume(self, name: str) -> None:
        """The client never asked for this parameter: strictness does not speak of our default."""
        self._assumed |= {name}

    def note(self, word: str) -> None:
        """Tell of something that is no loss: ``stand_in``, ``emulated:tools``."""
        if word not in self.words:
            self.words.append(word)

    def rename(self, name: str, to: str) -> None:
        """A parameter is spelled otherwise at the target."""
        self.note(f"renamed:{name}={to}")

    def default(self, name: str, value: object) -> None:
        """A parameter that the client left out is sent."""
        self.note(f"defaulted:{name}={value}")

    def clamp(self, name: str, value: object) -> None:
        """A value was moved into the target's range.

        Raises:
            GatewayError: ``invalid_request`` where the client asked for strictness.
        """
        self._refuse(name, f"would have to be {value} for this target")
        self.note(f"clamped:{name}={value}")

    def drop(self, name: str) -> None:
        """A parameter that the target does not know is left out; raises as ``clamp``."""
        self._refuse(name, "is not known to this target")
        self.note(f"dropped:{name}")

    def _refuse(self, name: str, why: str) -> None:
        if self.strict and name not in self._assumed:
            raise GatewayError(
                "invalid_request",
                f"'{name}' {why}, and x-trunkline-strict allows no change.",
                param=name,
            )
