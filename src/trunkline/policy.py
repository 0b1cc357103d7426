"""The settings of routing: how a model's calls find their target, as the operator writes it."""

from typing import Annotated

import msgspec
from msgspec import Meta

from trunkline.catalog import Positive, Section
from trunkline.routing.rule import CircuitRule, Policy, RoutingRule

Retries = Annotated[int, Meta(ge=0, le=10)]
Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]


class CircuitSettings(Section, frozen=True, kw_only=True):
    """When a target that keeps failing is left alone, and for how long."""

    failures: Positive = 5
    open_s: Seconds = 10
    open_max_s: Seconds = 120


class ModelCircuitSettings(Section, frozen=True, kw_only=True):
    """The same for the targets of one model; what is unset is as for all."""

    failures: Positive | None = None
    open_s: Seconds | None = None
    open_max_s: Seconds | None = None


class ModelRoutingSettings(Section, frozen=True, kw_only=True):
    """How the calls of one model find their target; what is unset is as for all."""

    policy: Policy | None = None
    sticky: bool | None = None
    retries: Retries | None = None
    retry_share: Share | None = None
    hedge_share: Share | None = None
    resume: bool | None = None
    circuit: ModelCircuitSettings = ModelCircuitSettings()


class RoutingSettings(Section, frozen=True, kw_only=True):
    """How calls find their target, and what becomes of targets that fail."""

    policy: Policy = "ordered"
    sticky: bool = False
    retries: Retries = 2
    retry_share: Share = 0.2
    hedge_share: Share = 0
    resume: bool = False
    circuit: CircuitSettings = CircuitSettings()

    def build(self, model: ModelRoutingSettings) -> RoutingRule:
        """The rule of a model."""
        values = msgspec.structs.asdict(self) | _list_given(model)
        circuit = msgspec.structs.asdict(self.circuit) | _list_given(model.circuit)
        return RoutingRule(**(values | {"circuit": CircuitRule(**circuit)}))


def _list_given(section: Section) -> dict[str, object]:
    """What the operator has set."""
    values = msgspec.structs.asdict(section)
    return {name: value for name, value in values.items() if value is not None}
