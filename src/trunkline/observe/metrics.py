"""Metrics: counters and gauges of one worker, written as Prometheus text when somebody asks."""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec


class Sample(msgspec.Struct, frozen=True):
    """One value, and the labels that tell it from its siblings."""

    value: float
    labels: Mapping[str, str] = {}


class Family(msgspec.Struct, frozen=True):
    """What is measured under one name: what it means, and the samples of this moment."""

    name: str
    help: str
    kind: Literal["counter", "gauge"]
    samples: tuple[Sample, ...]


Source = Callable[[], Iterable[Family]]


class Tally:
    """Counts calls, tokens and money as calls end; cheap enough for each of them."""

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str], int] = {}
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost_micros = 0

    def count(
        self, status: str, code: str, input_tokens: int, output_tokens: int, cost_micros: int
    ) -> None:
        """Count a call that has ended: how, and what it used."""
        key = (status, code)
        self.calls[key] = self.calls.get(key, 0) + 1
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        self.cost_micros += cost_micros

    def list_families(self) -> Iterable[Family]:
        """The counts so far."""
        yield Family(
            "trunkline_calls",
            "Calls that have ended, by how: status as in the ledger, and the error's code.",
            "counter",
            tuple(
                Sample(count, {"status": status, "code": code})
                for (status, code), count in sorted(self.calls.items())
            ),
        )
        yield Family(
            "trunkline_tokens",
            "Tokens of calls that have ended.",
            "counter",
            (
                Sample(self.input_tokens, {"direction": "input"}),
                Sample(self.output_tokens, {"direction": "output"}),
            ),
        )
        yield Family(
            "trunkline_cost_micros",
            "Micro-dollars that calls have cost, as far as they have a price.",
            "counter",
            (Sample(self.cost_micros),),
        )


def write_metrics(families: Iterable[Family], worker: str) -> bytes:
    """The families as Prometheus text (exposition format 0.0.4), each sample with its worker."""
    from prometheus_client import generate_latest  # noqa: PLC0415 - 20 ms that few need
    from prometheus_client.core import (  # noqa: PLC0415
        CollectorRegistry,
        CounterMetricFamily,
        GaugeMetricFamily,
    )
    from prometheus_client.registry import Collector  # noqa: PLC0415

    class Measured(Collector):
        """Gives the library what was measured elsewhere."""

        def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
            for family in families:
                names = sorted({name for each in family.samples for name in each.labels})
                make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
                metric = make(family.name, family.help, labels=["worker", *names])
                for each in family.samples:
                    values = [each.labels.get(name, "") for name in names]
                    metric.add_metric([worker, *values], each.value)
                yield metric

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Measured())
    return generate_latest(registry)
