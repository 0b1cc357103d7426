"""Reads an operator's configuration without needing any secret of it."""

import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any, Final

from trunkline.catalog import Catalog
from trunkline.chaos.toml_text import write_toml
from trunkline.settings import SECRETS, Settings, read_settings
from trunkline.toml import FileError, read_toml

_VEIL: Final = "TRUNKLINE_CHAOS_SECRET"
_PLACE: Final = re.compile(r"^.*?\.toml:\d+: ")


def read_configuration(path: Path, catalog: Catalog) -> Settings:
    """The settings of a file, every secret replaced by a dummy, the stores by local ones.

    Raises:
        FileError: one line for every fault, as ``trunkline check`` has them; faults that only
            show once the file is taken as a whole have no line number.
    """
    _, text = read_toml(path, Settings)
    veiled = _veil(tomllib.loads(text))
    with tempfile.TemporaryDirectory(prefix="trunkline-chaos-") as folder:
        copy = Path(folder) / "veiled.toml"
        copy.write_text(write_toml(veiled), "utf-8")
        try:
            return read_settings(copy, catalog, {_VEIL: "chaos-dummy"})
        except FileError as error:
            lines = [_PLACE.sub(f"{path}: ", line, count=1) for line in error.lines]
            raise FileError(lines) from None


def _veil(value: dict[str, Any]) -> dict[str, Any]:
    """The same tables without secrets and without what says where accounts are kept."""
    tables = {name: table for name, table in value.items() if name != "store"}
    tables["providers"] = {
        name: {
            field: f"env:{_VEIL}" if field in SECRETS and word else word
            for field, word in row.items()
            if field != "service_account"
        }
        for name, row in value.get("providers", {}).items()
    }
    return tables
