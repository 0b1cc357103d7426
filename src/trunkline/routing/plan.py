"""Finds the route of a model name; pure."""

import msgspec

from trunkline.errors import GatewayError
from trunkline.routing.table import Columns, Route, Table, Target


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
    wire = table.vendors.get(vendor) if slash and rest else None
    if wire is not None:
        columns = table.catalog.get(rest) or Columns()
        return Route(model, (Target(vendor, rest, wire),), columns, table.deadlines)
    name = model if model in table.catalog else rest
    stand_in = table.routes.get(table.stand_in) if table.stand_in else None
    if stand_in is not None and name in table.catalog:
        return msgspec.structs.replace(stand_in, stand_in=True)
    raise GatewayError("model_not_found", _explain(model, vendor if slash else ""), param="model")


def _explain(model: str, vendor: str) -> str:
    shown = model if len(model) <= 200 else f"{model[:200]}…"
    line = f'[models."{shown}"] targets = [{{ provider = "…", model = "…" }}]'
    hint = f", or a [providers.{vendor}] table" if vendor and shown == model else ""
    return f"Model '{shown}' not found. To serve it, add {line}{hint} to the configuration."
