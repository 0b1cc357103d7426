"""Reads a client's JSON body into a struct and says everything that is wrong with it."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from trunkline.errors import FieldFault, GatewayError

_S = TypeVar("_S", bound=msgspec.Struct)
_PATH = re.compile(r"`(?:key in )?\$(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[([^\]]*)\]")
SHOWN_CHARACTERS = 200
"""Of a client's own text in a message about it."""
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class JsonObject(msgspec.Struct, gc=False):
    """Any JSON object; its fields are skipped, not built."""


def read_body(decoder: msgspec.json.Decoder[_S], body: bytes) -> _S:
    """Decode and check a request body.

    Raises:
        GatewayError: ``validation_error`` with FastAPI's list of faults, every faulty field
            named, as the SGP API answers it (docs/contract.md, Errors).
    """
    try:
        if not body.isascii():
            body.decode()  # what is skipped or kept verbatim must be UTF-8 too
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(_find_faults(decoder.type, body, error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid((_unreadable(body, error),)) from None


def read_fields(body: bytes) -> dict[str, msgspec.Raw]:
    """Every field of a JSON object that is not null, verbatim.

    Raises:
        GatewayError: ``validation_error`` when the body is no JSON object in UTF-8.
    """
    try:
        fields = _FIELDS.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _invalid((_unreadable(body, error),)) from None
    if b"null" in body:
        return {name: raw for name, raw in fields.items() if bytes(raw) != b"null"}
    return fields


def _invalid(faults: tuple[FieldFault, ...]) -> GatewayError:
    first = faults[0]
    where = ".".join(str(step) for step in first.loc)
    names = [step for step in first.loc[1:] if isinstance(step, str)]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return GatewayError(
        "validation_error",
        f"{where}: {first.msg}{more}",
        param=names[-1] if names else None,
        faults=faults,
    )


def _unreadable(body: bytes, error: Exception) -> FieldFault:
    if not body.strip():
        return FieldFault(("body",), "Field required: the body is empty, send JSON", "missing")
    if isinstance(error, RecursionError):
        return FieldFault(("body",), "JSON is nested too deeply", "json_invalid")
    if isinstance(error, UnicodeDecodeError):
        return FieldFault(("body",), "JSON is not valid UTF-8", "json_invalid")
    return FieldFault(("body",), f"JSON decode error: {error}", "json_invalid")


def _find_faults(
    wanted: type[msgspec.Struct], body: bytes, error: msgspec.ValidationError
) -> tuple[FieldFault, ...]:
    """All faults, field by field: the decoder itself stops at the first."""
    try:
        fields = _FIELDS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return (_fault(str(error), ()),)
    faults = list(_check_fields(wanted, fields))
    return tuple(faults) or (_fault(str(error), ()),)


def _check_fields(
    wanted: type[msgspec.Struct], fields: Mapping[str, msgspec.Raw]
) -> list[FieldFault]:
    faults: list[FieldFault] = []
    for field in msgspec.structs.fields(wanted):
        raw = fields.get(field.encode_name)
        if raw is None:
            if field.required:
                faults.append(FieldFault(("body", field.encode_name), "Field required", "missing"))
            continue
        try:
            msgspec.json.decode(raw, type=field.type)
        except msgspec.ValidationError as error:
            faults.append(_fault(str(error), (field.encode_name,)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            faults.append(
                FieldFault(("body", field.encode_name), f"Unreadable: {error}", "json_invalid")
            )
    return faults


def _fault(text: str, prefix: tuple[str | int, ...]) -> FieldFault:
    """Turn msgspec's text (``Expected `int`, got `str` - at `$.a[0]` ``) into a fault."""
    path: list[str | int] = ["body", *prefix]
    message, _, place = text.rpartition(" - at ") if " - at `" in text else (text, "", "")
    match = _PATH.match(place)
    for name, index, _any_key in _STEP.findall(match["path"] if match else ""):
        if name:
            path.append(name)
        elif index:
            path.append(int(index))
    missing = "missing required field" in message
    if missing:
        path.append(message.rsplit("`", 2)[-2])
        message = "Field required"
    if len(message) > SHOWN_CHARACTERS:
        message = f"{message[:SHOWN_CHARACTERS]}…"
    return FieldFault(tuple(path), message, "missing" if missing else "value_error")


def encode_json(value: Any) -> bytes:
    """JSON in UTF-8 without spaces."""
    return _ENCODER.encode(value)


_ENCODER = msgspec.json.Encoder()
