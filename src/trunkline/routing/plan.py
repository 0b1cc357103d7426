"""Finds the route of a model name; pure."""

from typing import Final

import msgspec

from trunkline.errors import GatewayError
from trunkline.routing.table import Known, Route, Table, Target, fit_columns


def find_route(table: Table, model: str) -> Route:
    """The route for a public name.

    A configured name wins; then ``vendor/model``, split at the first slash, where a provider
    of that name is configured; then the stand-in, for catalog names.

    Raises:
        GatewayError: ``model_not_found``, naming the configuration that would map it.
    """
    route = table.routes.get(model)
    if route is not None:
        return route
    vendor, slash, rest = model.partition("/")
    row = table.vendors.get(vendor) if slash and rest else None
    if row is not None:
        targets = (Target(vendor, rest, row),)
        columns = fit_columns(table.catalog.get(rest, _UNKNOWN).columns, targets)
        return Route(model, targets, columns, table.deadlines, rule=table.rule)
    name = model if model in table.catalog else rest
    known = table.catalog.get(name)
    stand_in = table.routes.get(table.stand_in) if table.stand_in else None
    if stand_in is not None and known is not None:
        return msgspec.structs.replace(stand_in, stand_in=True)
    message = _explain(model, known or _UNKNOWN, vendor if slash else "")
    raise GatewayError("model_not_found", message, param="model")


_UNKNOWN: Final = Known()


def _explain(model: str, known: Known, vendor: str) -> str:
    """Why a name has no route, and the line of configuration that would give it one."""
    shown = model if len(model) <= 200 else f"{model[:200]}…"
    # An active model may have an heir already, but it can still be had itself.
    heir = known.replacement if known.status == "retired" else ""
    line = f'[models."{shown}"] targets = [{{ provider = "…", model = "{heir or "…"}" }}]'
    hint = ""
    if vendor and shown == model:
        hint = f", or a [providers.{vendor}] table"
    elif known.native:
        hint = f", or the table of a provider that has it ({', '.join(known.native)}),"
    how = f"To serve it, add {line}{hint} to the configuration."
    if known.status == "unavailable":
        return f"Model '{shown}' not found: it was never offered to the public. {how}"
    if known.status == "retired":
        since = f" on {known.retired_on}" if known.retired_on else ""
        use = f" Use '{heir}' instead." if heir else ""
        return f"Model '{shown}' not found: its vendor retired it{since}.{use} {how}"
    return f"Model '{shown}' not found. {how}"
