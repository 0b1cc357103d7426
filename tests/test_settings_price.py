"""The prices of a configuration file: read exactly, and every fault with its line."""

from datetime import date
from pathlib import Path

import pytest

from trunkline.catalog import read_catalog
from trunkline.ledger.price_rule import PriceSettings
from trunkline.settings import Settings, read_settings
from trunkline.toml import FileError

CATALOG = read_catalog()
PRICE = """[providers.openai]
api_key = "env:LAB_KEY"
[prices]
unpriced = "refuse"
[[prices.list]]
provider = "openai"
model = "gpt-*"
input = "0.15"
output = 1
since = 2026-01-01
[[prices.list]]
provider = "local"
model = "smol"
"""
LAB = """[providers.lab]
wire = "openai"
base_url = "http://h/v1"
api_key = "env:LAB_KEY"
"""


def read(folder: Path, text: str) -> Settings:
    path = folder / "gateway.toml"
    path.write_text(text, "utf-8")
    return read_settings(path, CATALOG, {"LAB_KEY": "sk-lab"})


def refuse(folder: Path, text: str) -> list[str]:
    with pytest.raises(FileError) as caught:
        read(folder, text)
    return [line.removeprefix(f"{folder}/gateway.toml:") for line in caught.value.lines]


def test_prices_are_read_exactly(tmp_path: Path) -> None:
    prices = read(tmp_path, PRICE + 'input = "0.000001"\noutput = 0\nrequest = "0.01"').prices
    assert prices.unpriced == "refuse"
    first, second = prices.list
    assert (first.provider, first.model) == ("openai", "gpt-*")
    assert (first.input, first.output) == ("0.15", 1)
    assert (first.since, first.until) == (date(2026, 1, 1), None)
    assert (second.input, second.output, second.request) == ("0.000001", 0, "0.01")
    assert read(tmp_path, "").prices == PriceSettings()


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ('input = "1"', "11: prices.list[1].output: is required"),
        (
            "input = 0.5\noutput = 1",
            '14: prices.list[1].input: write the amount as text, as in "0.5": then it is exact',
        ),
        (
            'output = "1"\ninput = "$1"',
            '15: prices.list[1].input: expected dollars as text, as in "0.15"',
        ),
        (
            'input = "1"\noutput = "1"\nimages = "1"',
            "16: prices.list[1].images: unknown key, did you mean 'image'?",
        ),
        (
            "input=1\noutput=1\n[[prices.list]]\nprovider='opena'\nmodel='m'\ninput=1\noutput=1",
            "17: prices.list[2].provider: expected a configured provider (openai, local, *)",
        ),
    ],
)
def test_a_fault_of_a_price_has_its_line(tmp_path: Path, words: str, fault: str) -> None:
    assert refuse(tmp_path, PRICE + words) == [fault]


def test_a_provider_can_name_another_list_or_none(tmp_path: Path) -> None:
    text = LAB + 'prices = "{}"\n[providers.openai]\nprices = ""\n[providers.groq]\n'
    providers = read(tmp_path, text.format("together")).providers
    assert [row.prices for row in providers.values()] == ["together", "", "groq"]
    (fault,) = refuse(tmp_path, text.format("togethr"))
    assert fault.startswith("5: providers.lab.prices: expected the name of a list (anthropic, ")
