"""A scriptable upstream in every dialect that the gateway speaks, with seeded faults.

It shares no code with the rooms that read those dialects: it is a check from outside.
"""

from trunkline.mock.behaviour import (
    Asked,
    Behaviour,
    Plan,
    Served,
    ToolCall,
    always,
    by_model,
    first,
    honest,
    share,
)
from trunkline.mock.fault import FAULTS, Fault, Kind, read_fault
from trunkline.mock.server import MockServer

__all__ = [
    "FAULTS",
    "Asked",
    "Behaviour",
    "Fault",
    "Kind",
    "MockServer",
    "Plan",
    "Served",
    "ToolCall",
    "always",
    "by_model",
    "first",
    "honest",
    "read_fault",
    "share",
]
