"""The settings of routing: what is set for all, for one model, and what is refused."""

from pathlib import Path

import pytest

from trunkline.app import build_table
from trunkline.catalog import read_catalog
from trunkline.routing.plan import find_route
from trunkline.routing.rule import CircuitRule, RoutingRule
from trunkline.routing.table import Table
from trunkline.settings import read_settings
from trunkline.toml import FileError

CATALOG = read_catalog()
LAB = '[providers.lab]\nwire = "openai"\nbase_url = "http://h/v1"\n'


def read(folder: Path, text: str) -> Table:
    path = folder / "gateway.toml"
    path.write_text(LAB + text, "utf-8")
    return build_table(read_settings(path, CATALOG, {}), CATALOG, ())


def refuse(folder: Path, text: str) -> list[str]:
    with pytest.raises(FileError) as caught:
        read(folder, text)
    return [line.removeprefix(f"{folder}/gateway.toml:") for line in caught.value.lines]


def test_without_settings_the_rule_is_the_default(tmp_path: Path) -> None:
    table = read(tmp_path, '[models.x]\ntargets = [{ provider = "lab", model = "m" }]\n')
    assert table.routes["x"].rule == find_route(table, "lab/any").rule == RoutingRule()


def test_a_model_overrides_what_is_set_for_all(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        """
        [models.x]
        targets = [
          { provider = "lab", model = "m", weight = 3 },
          { provider = "lab", model = "n", on = ["context", "filter"] },
        ]
        [models.x.routing]
        policy = "weighted"
        retries = 0
        [models.x.routing.circuit]
        open_s = 1.5
        [models.y]
        targets = [{ provider = "lab", model = "m" }]
        [routing]
        sticky = true
        retries = 5
        hedge_share = 0.1
        [routing.circuit]
        failures = 9
        """,
    )
    rest = RoutingRule(
        sticky=True, retries=5, hedge_share=0.1, circuit=CircuitRule(failures=9, open_s=10)
    )
    assert table.routes["y"].rule == find_route(table, "lab/any").rule == rest
    assert table.routes["x"].rule == RoutingRule(
        "weighted", sticky=True, retries=0, hedge_share=0.1, circuit=CircuitRule(9, 1.5)
    )
    assert [(each.weight, each.on) for each in table.routes["x"].targets] == [
        (3, ()),
        (1, ("context", "filter")),
    ]


def test_faults_are_told_with_their_lines(tmp_path: Path) -> None:
    text = """[routing]
policy = "best"
retries = 11
retry_share = 1.5
hurry = true
[routing.circuit]
failures = 0
open_s = 0
[models.x]
targets = [{ provider = "lab", model = "m", on = ["rain"] }]
[models.x.routing]
resume = "yes"
[models.x.routing.circuit]
open_max = 1
"""
    faults = refuse(tmp_path, text)
    assert [tuple(line.split(": ")[:2]) for line in faults] == [
        ("5", "routing.policy"),
        ("6", "routing.retries"),
        ("7", "routing.retry_share"),
        ("8", "routing.hurry"),
        ("10", "routing.circuit.failures"),
        ("11", "routing.circuit.open_s"),
        ("13", "models.x.targets[0].on[0]"),
        ("15", "models.x.routing.resume"),
        ("17", "models.x.routing.circuit.open_max"),
    ]


def test_a_model_needs_a_target_that_is_tried_first(tmp_path: Path) -> None:
    text = """[models.x]
targets = [{ provider = "lab", model = "m", on = ["context"] }]
"""
    (fault,) = refuse(tmp_path, text)
    assert fault.startswith("5: models.x.targets[0].on: expected a target without it")
