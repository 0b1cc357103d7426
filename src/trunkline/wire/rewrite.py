"""Named rewrites: what a provider's dialect of OpenAI's chat format wants written otherwise.

A provider's row names its rewrites and drops; both work on the client's JSON, field by field,
and a body that holds none of their fields is not even decoded. Which provider needs which, with
the pages that say so: docs/providers.md (read 2026-11-22).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from trunkline.chat import Json
from trunkline.errors import GatewayError
from trunkline.wire.change import Changes
from trunkline.wire.parameter import MEANINGLESS

Rewrite = Literal[
    "context_error",
    "developer_as_system",
    "max_completion_tokens",
    "max_tokens",
    "n_fan_out",
    "no_message_names",
    "no_stream_options",
    "object_as_schema",
    "plain_messages",
    "random_seed",
    "reasoning_field",
    "schema_as_grammar",
    "schema_as_text",
    "stop_list",
    "tool_choice_words",
]
Fields = dict[str, msgspec.Raw]
_ENCODER = msgspec.json.Encoder()
_LIST = msgspec.json.Decoder(list[Any])
_MESSAGE_FIELDS: Final = frozenset(
    {"role", "content", "name", "tool_calls", "tool_call_id", "refusal", "audio", "function_call"}
)
_PLAIN: Final = re.compile(r"\w+", re.ASCII)
_ESCAPED: Final = re.compile(rb"\\u00[3-7]")
"""One of those characters as an escape: a field's name or a word may be spelled with it."""


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(_ENCODER.encode(value))


def _rename(name: str, to: str) -> Callable[[Fields, Changes], None]:
    def rewrite(fields: Fields, changes: Changes) -> None:
        if name in fields:
            value = fields.pop(name)
            fields.setdefault(to, value)
            changes.rename(name, to)

    return rewrite


def _is_escaped(body: bytes) -> bool:
    """Whether JSON may spell a marker in a way that a search for it misses."""
    return body.find(b"\\u00") >= 0 and _ESCAPED.search(body) is not None


def _edit_messages(
    edit: Callable[[Json], bool], tell: Callable[[Changes], None], marker: bytes = b""
) -> Callable[[Fields, Changes], None]:
    def rewrite(fields: Fields, changes: Changes) -> None:
        body = bytes(fields["messages"])
        if marker not in body and not _is_escaped(body):
            return
        messages = _LIST.decode(body)
        # A list, not a generator: every message is edited.
        edited = [edit(message) for message in messages if isinstance(message, dict)]
        if any(edited):
            fields["messages"] = _raw(messages)
            tell(changes)

    return rewrite


def _be_system(message: Json) -> bool:
    is_developer = message.get("role") == "developer"
    if is_developer:
        message["role"] = "system"
    return is_developer


def _lose_name(message: Json) -> bool:
    """Messages of tools and functions keep theirs: there it says whose answer this is."""
    if message.get("role") in ("tool", "function"):
        return False
    return message.pop("name", None) is not None


def _be_plain(kept: frozenset[str]) -> Callable[[Json], bool]:
    def edit(message: Json) -> bool:
        extra = [name for name in message if name not in kept]
        for name in extra:
            del message[name]
        return bool(extra)

    return edit


def _name_reasoning(message: Json) -> bool:
    thought = message.pop("reasoning_content", None)
    if thought is not None:
        message.setdefault("reasoning", thought)
    return thought is not None


def _list_stop(fields: Fields, _changes: Changes) -> None:
    stop = bytes(fields.get("stop", b""))
    if stop.startswith(b'"'):
        fields["stop"] = msgspec.Raw(b"[" + stop + b"]")


def _name_tool_in_words(fields: Fields, changes: Changes) -> None:
    """A named tool becomes the only one offered, and some tool has to be called."""
    if "tools" not in fields or "tool_choice" not in fields:
        return
    name = _read_name(msgspec.json.decode(fields["tool_choice"]))
    tools = [tool for tool in _LIST.decode(fields["tools"]) if _read_name(tool) == name]
    if name is not None and tools:
        fields["tools"], fields["tool_choice"] = _raw(tools), _raw("required")
        changes.rename("tool_choice", "required")


def _read_name(tool: Any) -> str | None:
    """The function that a tool, or a choice of one, names."""
    function = tool.get("function") if isinstance(tool, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def _want_error(fields: Fields, _changes: Changes) -> None:
    """Fireworks would shorten the answer in silence where the context is too small."""
    fields.setdefault("context_length_exceeded_behavior", _raw("error"))


def _read_format(fields: Fields) -> tuple[str, Json | None]:
    """The type of ``response_format``, "" where there is none, and its schema."""
    wanted = msgspec.json.decode(fields["response_format"]) if "response_format" in fields else None
    if not isinstance(wanted, dict):
        return "", None
    inner = wanted.get("json_schema")
    schema = inner.get("schema") if isinstance(inner, dict) else None
    return str(wanted.get("type")), schema if isinstance(schema, dict) else None


def _be_grammar(fields: Fields, changes: Changes) -> None:
    kind, schema = _read_format(fields)
    if kind in ("json_object", "json_schema"):
        fields["response_format"] = _raw({"type": "json", "value": schema or {"type": "object"}})
        changes.rename("response_format", "json")


def _be_schema(fields: Fields, changes: Changes) -> None:
    if _read_format(fields)[0] == "json_object":
        inner = {"name": "answer", "schema": {"type": "object"}}
        fields["response_format"] = _raw({"type": "json_schema", "json_schema": inner})
        changes.rename("response_format", "json_schema")


def _tell_schema(fields: Fields, changes: Changes) -> None:
    """The schema becomes an instruction: the vendor promises an object, not this one."""
    kind, schema = _read_format(fields)
    if kind != "json_schema" or schema is None:
        return
    changes.clamp("response_format", "json_object")
    told = f"Answer with a JSON object of this schema: {_ENCODER.encode(schema).decode()}"
    messages = [{"role": "system", "content": told}, *_LIST.decode(fields["messages"])]
    fields["messages"], fields["response_format"] = _raw(messages), _raw({"type": "json_object"})


class _Rule(msgspec.Struct, frozen=True):
    """What a rewrite does, and the text without which a body has nothing for it to do.

    ``chat``: it is for chat requests only; the legacy text format has other words.
    """

    apply: Callable[[Fields, Changes], None] | None
    marker: bytes
    chat: bool = False


def _message_rule(
    edit: Callable[[Json], bool], tell: Callable[[Changes], None], marker: bytes
) -> _Rule:
    return _Rule(_edit_messages(edit, tell, marker), marker, chat=True)


def _plain_rule(*more: str) -> _Rule:
    edit = _be_plain(_MESSAGE_FIELDS.union(more))
    rewrite = _edit_messages(edit, lambda changes: changes.drop("messages.extra"))
    return _Rule(rewrite, b'"messages"', chat=True)


_RULES: Final[Mapping[Rewrite, _Rule]] = {
    "context_error": _Rule(_want_error, b""),
    "developer_as_system": _message_rule(
        _be_system, lambda changes: changes.rename("developer", "system"), b'"developer"'
    ),
    "max_completion_tokens": _Rule(
        _rename("max_tokens", "max_completion_tokens"), b'"max_tokens"', chat=True
    ),
    "max_tokens": _Rule(_rename("max_completion_tokens", "max_tokens"), b'"max_completion_tokens"'),
    "n_fan_out": _Rule(None, b'"n"'),
    "no_message_names": _message_rule(
        _lose_name, lambda changes: changes.drop("messages.name"), b'"name"'
    ),
    "no_stream_options": _Rule(None, b'"stream_options"'),
    "object_as_schema": _Rule(_be_schema, b'"response_format"'),
    "plain_messages": _plain_rule(),
    "random_seed": _Rule(_rename("seed", "random_seed"), b'"seed"'),
    "reasoning_field": _message_rule(
        _name_reasoning,
        lambda changes: changes.rename("reasoning_content", "reasoning"),
        b'"reasoning_content"',
    ),
    "schema_as_grammar": _Rule(_be_grammar, b'"response_format"'),
    "schema_as_text": _Rule(_tell_schema, b'"response_format"', chat=True),
    "stop_list": _Rule(_list_stop, b'"stop"'),
    "tool_choice_words": _Rule(_name_tool_in_words, b'"tool_choice"'),
}
_ORDER: Final = tuple(sorted(_RULES, key=lambda name: name == "plain_messages"))
"""Whatever reads a message's further fields goes before what removes them."""


class Dialect:
    """The drops and rewrites of one row, ready to be applied.

    Args:
        drops: parameters that are never sent.
        rewrites: names of rewrites.
    """

    def __init__(self, drops: Sequence[str], rewrites: Sequence[Rewrite]) -> None:
        self._drops = tuple(drops)
        rules = dict(_RULES)
        if "reasoning_field" in rewrites:
            rules["plain_messages"] = _plain_rule("reasoning")
        self._rules = [rules[name] for name in _ORDER if name in rewrites]
        self._markers = [_mark(name) for name in self._drops]
        self._markers += [rule.marker for rule in self._rules]
        self.is_idle = not drops and not rewrites
        self.fans_out = "n_fan_out" in rewrites
        self.asks_usage = "no_stream_options" not in rewrites

    def touches(self, body: bytes) -> bool:
        """Whether a body may hold something to change; False is certain."""
        for marker in self._markers:
            if body.find(marker) >= 0:
                return True
        return bool(self._markers) and _is_escaped(body)

    def apply(self, fields: Fields, changes: Changes) -> None:
        """Change a body's fields in place.

        Raises:
            GatewayError: ``invalid_request`` for a drop where ``changes`` is strict, and for a
                number beyond all ranges in what is rewritten.
        """
        try:
            self._apply(fields, changes)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise GatewayError("invalid_request", f"body: {error}") from None

    def _apply(self, fields: Fields, changes: Changes) -> None:
        for name in self._drops:
            value = fields.pop(name, None)
            if value is not None and msgspec.json.decode(value) not in MEANINGLESS.get(name, ()):
                changes.drop(name)
        is_chat = "messages" in fields
        for rule in self._rules:
            if rule.apply is not None and (is_chat or not rule.chat):
                rule.apply(fields, changes)


def _mark(name: str) -> bytes:
    """The text of a field's name in a body; "" where JSON can spell it in several ways."""
    return b'"%b"' % name.encode() if _PLAIN.fullmatch(name) else b""
