"""Puts together what a client handed out: a whole answer, or the chunks of a streamed one."""

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]


def read_message(objects: Sequence[Any], *, stream: bool) -> Json:
    """The assistant's message as a client would send it back."""
    if not stream:
        (answer,) = objects
        message = answer.choices[0].message.to_dict()
        assert isinstance(message, dict)
        return message
    whole: Json = {}
    for chunk in objects:
        for choice in chunk.choices:
            _fold(whole, choice.delta.to_dict())
    return whole


def read_told(objects: Sequence[Any], *, stream: bool) -> Json:
    """Message, finish reason and usage, without what is empty."""
    choices = [choice for each in objects for choice in each.choices]
    assert {choice.index for choice in choices} == {0}
    (finish_reason,) = [each.finish_reason for each in choices if each.finish_reason]
    (usage,) = [each.usage for each in objects if each.usage is not None]
    message = read_message(objects, stream=stream)
    assert message.pop("role") == "assistant"
    told: Json = prune({"message": message, "usage": usage.to_dict()})
    return {**told, "finish_reason": finish_reason}


def prune(value: Any) -> Any:
    """The same without nulls and empty things."""
    if isinstance(value, list):
        return [prune(each) for each in value]
    if not isinstance(value, dict):
        return value
    pruned = {name: prune(each) for name, each in value.items()}
    return {name: each for name, each in pruned.items() if each not in (None, "", [], {})}


def _fold(whole: Json, delta: Json) -> None:
    for name, piece in delta.items():
        if name == "tool_calls":
            for call in piece or ():
                _fold_call(whole.setdefault("tool_calls", []), dict(call))
        elif piece is None or name == "role":
            whole.setdefault(name, piece)
        elif isinstance(piece, str):
            whole[name] = (whole.get(name) or "") + piece
        else:
            whole.setdefault(name, []).extend(piece)


def _fold_call(calls: list[Json], piece: Json) -> None:
    slot = piece.pop("index")
    if slot == len(calls):
        function = {"name": "", "arguments": "", **piece["function"]}
        calls.append({**piece, "function": function})
    else:
        assert slot < len(calls)
        calls[slot]["function"]["arguments"] += piece["function"]["arguments"]
