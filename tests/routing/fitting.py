"""Fits requests to targets, and shows what the target would be sent."""

from typing import Any

import msgspec

from trunkline.call import Deadlines
from trunkline.catalog import read_catalog
from trunkline.routing.ask import Ask, Fitted, Request
from trunkline.routing.fit import ClientFormat
from trunkline.routing.table import Columns, Route, Row, Target
from trunkline.wire.change import Changes
from trunkline.wire.mend import Stamp
from trunkline.wire.reply import Pair

ROWS = {name: provider.build_row() for name, provider in read_catalog().providers.items()}
LAB = Target("lab", "upstream/model")
ENGINE = Target("local", "small-model", Row(images="data"), upstream="local/small")
MESSAGES = [{"role": "user", "content": "Hi"}]
CHAT = {"model": "m", "messages": MESSAGES}
TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}


class Fit:
    """One fitted request: its pairs of formats, and what was changed."""

    def __init__(self, fitted: Fitted, changes: Changes) -> None:
        self.pairs = fitted.pairs
        self.words = changes.words

    @property
    def pair(self) -> Pair:
        (pair,) = self.pairs
        return pair

    @property
    def sent(self) -> dict[str, Any]:
        """The body for the target."""
        return read_sent(self.pair)


def read_sent(pair: Pair) -> dict[str, Any]:
    sent = msgspec.json.decode(pair.write_request())
    assert isinstance(sent, dict)
    return sent


def fit(
    form: ClientFormat,
    asked: Request | dict[str, Any],
    target: Target = LAB,
    *,
    strict: bool = False,
    stand_in: bool = False,
    **columns: Any,
) -> Fit:
    """Fit a request, or a body of one, to a target whose model has these columns."""
    request = form.read(msgspec.json.encode(asked)) if isinstance(asked, dict) else asked
    route = Route("m", (target,), Columns(**columns), Deadlines(), stand_in)
    changes = Changes(strict=strict)
    ask = Ask(Stamp("chatcmpl-1", "m", 1), changes)
    return Fit(form.fit(request, route, target, ask), changes)


def at(name: str, model: str = "m1") -> Target:
    """A target at a provider of the catalog."""
    return Target(name, model, ROWS[name])


def row(**words: Any) -> Target:
    """A target at a provider with a row of the test's own."""
    return Target("lab", "upstream/model", Row(**words))
