"""The catalog that ships: rows and names that hang together."""

import re
from datetime import date
from typing import get_args

import pytest

from trunkline.catalog import ProviderSettings, read_catalog
from trunkline.ledger.price_book import PriceBook
from trunkline.providers.origin import parse_base_url
from trunkline.routing.table import OPERATIONS, Columns, Row, Wire
from trunkline.settings import PLACES
from trunkline.wire.template import TEMPLATES

CATALOG = read_catalog()
TODAY = date(2026, 11, 22)
"""The day on which the rows were read."""


def test_the_catalog_has_every_provider() -> None:
    assert len(CATALOG.providers) == 29
    assert {row.wire for row in CATALOG.providers.values()} == {*get_args(Wire)}


@pytest.mark.parametrize("name", CATALOG.providers)
def test_a_row_is_complete(name: str) -> None:
    row = CATALOG.providers[name]
    assert row.title
    assert row.tier
    assert row.complete().build_row().serves
    assert not row.api_key
    assert "/" not in name
    if row.wire == "llm-engine":
        assert row.base_url is None  # everybody has a server of their own
        return
    assert row.base_url is not None
    given = re.sub(r"\{(\w+)\}", lambda mark: "x" if mark[1] in PLACES else mark[0], row.base_url)
    origin, _ = parse_base_url(given)
    assert "{" not in given
    # Keys go nowhere in the clear but on this machine.
    assert origin.scheme == ("http" if origin.host == "127.0.0.1" else "https")
    for operation, path in (row.paths or {}).items():
        assert operation in OPERATIONS
        assert path.startswith("/")
        assert set(re.findall(r"\{\w+\}", path)) <= {"{model}"}


def test_a_row_names_a_price_list_that_ships() -> None:
    named = {name: row.prices for name, row in CATALOG.providers.items() if row.prices}
    assert {*named.values()} <= {*PriceBook().list_names()}
    # The gateway's own servers, and vendors without a list, have no prices of their own.
    assert len(named) == 16
    assert not named.keys() & {"vllm", "ollama", "llama_cpp", "llm-engine", "huggingface"}


def test_only_openai_takes_the_callers_own_key() -> None:
    assert [name for name, row in CATALOG.providers.items() if row.caller_key] == ["openai"]


@pytest.mark.parametrize("wire", get_args(Wire))
def test_a_new_row_has_its_wires_defaults(wire: Wire) -> None:
    new = ProviderSettings(wire=wire, base_url="https://x.test").complete()
    row = new.build_row()
    for known in CATALOG.providers.values():
        full = known.complete()
        if full.wire == wire and not known.paths and wire != "openai":
            assert set(full.build_row().serves) <= {*row.serves, "embeddings"}
            assert full.images == new.images
            assert full.headers == new.headers
    assert row == Row(wire=wire, serves=row.serves, images=row.images)
    assert ProviderSettings(wire=wire, serves=(), images="none").complete().serves == ()


def test_every_name_has_a_row_of_its_own() -> None:
    assert len(CATALOG.models) == 86
    assert list(CATALOG.models)[:2] == ["gpt-oss-120b", "gpt-oss-20b"]
    kinds = [row.kind for row in CATALOG.models.values()]
    assert set(kinds) == {"base", "instruct", "chat", "encdec"}
    assert "Meta-Llama-3-8B-Instruct-RMU" in CATALOG.models


@pytest.mark.parametrize("name", CATALOG.models)
def test_a_name_is_consistent(name: str) -> None:
    row = CATALOG.models[name]
    known = row.build()
    assert row.native.keys() <= CATALOG.providers.keys()
    assert all(row.native.values())
    assert known.native == tuple(row.native)
    if row.retired_on:
        gone = date.fromisoformat(row.retired_on) <= TODAY
        assert gone == (row.status == "retired")
    if row.status != "active":
        assert not row.native
    if row.status == "retired":
        assert row.replacement
        assert row.replacement != name
        heir = CATALOG.models.get(row.replacement)
        assert heir is None or heir.status == "active"
    assert row.template is None or row.template in TEMPLATES
    chat = row.kind == "chat"
    assert known.columns == Columns(
        prompt_mode="user_message" if chat else "raw",
        images=row.images or None,
        tools=row.tools,
        reasoning=row.reasoning,
        fixed_sampling=row.fixed_sampling,
        context_window=row.context_window,
        max_output=row.max_output,
        default_max_tokens=row.default_max_tokens,
    )
    if row.max_output and row.context_window:
        assert row.max_output <= row.context_window
