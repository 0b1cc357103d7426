"""Plays faults upon the parts of an answer: what is put in, left out, or changed, and where."""

import random
from collections.abc import Callable
from typing import Final, NamedTuple

from trunkline.mock.fault import At, Fault
from trunkline.mock.part import Part, Then
from trunkline.mock.voice import Frame, Voice, encode

_HTML: Final = b"<!doctype html><title>502</title><h1>Bad gateway</h1>"
_BAD_UTF8: Final = b"\xff\xc3\x28"
_PING: Final = Frame(b'{"type": "ping"}', "open", "ping")
_GARBAGE_BYTES: Final = 64
GAP_S: Final = 0.02
"""Before what breaks an answer, so that what came before it arrives by itself and is read."""
_ENDS: Final[dict[str, Then]] = {
    "hang": "hang",
    "cut": "cut",
    "reset": "reset",
    "early_end": "end",
}


class Scene(NamedTuple):
    """What a fault finds: the parts so far, the frames they stand for, and where it happens.

    ``frames`` is empty for a whole answer, and ``place`` counts parts.
    """

    fault: Fault
    voice: Voice
    parts: list[Part]
    frames: list[Frame]
    place: int
    newline: bytes

    def put_in(self, *more: Part) -> list[Part]:
        """The parts with others at the fault's place, up to one that ends it all."""
        parts = [*self.parts[: self.place], *more]
        return parts if more and more[-1].then else [*parts, *self.parts[self.place :]]

    def find_frame(self) -> Frame | None:
        """The frame that comes next."""
        return self.frames[min(self.place, len(self.frames) - 1)] if self.frames else None


def find_place(parts: list[Part], at: At, after_chunks: int, *, stream: bool) -> int:
    """Before which part something happens that is to happen ``at`` a point."""
    contents = [place for place, part in enumerate(parts) if part.mark == "content"]
    finishes = [place for place, part in enumerate(parts) if part.mark == "finish"]
    end = finishes[-1] + 1 if finishes else len(parts)
    if at == "end":
        return end
    if not contents:
        return finishes[0] if finishes else end
    if at == "after_content":
        count = min(max(after_chunks, 1), len(contents)) if stream else 1
        return contents[count - 1] + 1
    return contents[0]


def damage(scene: Scene) -> list[Part]:
    """The parts as the fault leaves them; kinds that need nothing here leave them alone."""
    play = _PLAYS.get(scene.fault.kind)
    return scene.parts if play is None else play(scene)


def _stop(scene: Scene) -> list[Part]:
    return scene.put_in(Part(then=_ENDS[scene.fault.kind], wait_s=GAP_S))


def _delay(scene: Scene) -> list[Part]:
    return scene.put_in(Part(wait_s=scene.fault.delay_s))


def _drip(scene: Scene) -> list[Part]:
    return [part._replace(wait_s=scene.fault.delay_s) for part in scene.parts]


def _truncate(scene: Scene) -> list[Part]:
    rest = b"".join(part.data for part in scene.parts[scene.place :][:1])
    return scene.put_in(Part(rest[: max(len(rest) // 2, 1)], then="end"))


def _break_frame(scene: Scene) -> list[Part]:
    frame = scene.find_frame()
    if frame is None:
        return scene.parts
    half = frame._replace(data=frame.data[: len(frame.data) // 2])
    return scene.put_in(Part(scene.voice.write_frame(half, scene.newline)))


def _put_garbage(scene: Scene) -> list[Part]:
    return scene.put_in(Part(_make_garbage(scene.fault), then="end"))


def _trail_garbage(scene: Scene) -> list[Part]:
    return [*scene.parts, Part(_make_garbage(scene.fault))]


def _make_garbage(fault: Fault) -> bytes:
    if fault.body:
        return fault.body.encode()
    return random.Random(fault.seed).randbytes(_GARBAGE_BYTES)  # noqa: S311 - the same ones again


def _break_text(scene: Scene) -> list[Part]:
    place = min(scene.place, len(scene.parts) - 1)
    part, frame = scene.parts[place], scene.find_frame()
    if frame is None:
        data = _spoil(part.data, part.text)
    else:
        spoiled = frame._replace(data=_spoil(frame.data, frame.text))
        data = scene.voice.write_frame(spoiled, scene.newline)
    return [*scene.parts[:place], part._replace(data=data), *scene.parts[place + 1 :]]


def _spoil(data: bytes, text: str) -> bytes:
    """The JSON with bytes in the text, or else in its last string, that are no UTF-8."""
    inner = encode(text)[1:-1]
    if inner and inner in data:
        return data.replace(inner, inner + _BAD_UTF8, 1)
    before, quote, after = data.rpartition(b'"')
    return before + _BAD_UTF8 + quote + after


def _break_chunk(scene: Scene) -> list[Part]:
    return scene.put_in(Part(b"zz\r\nno size\r\n", wait_s=GAP_S, then="cut", is_raw=True))


def _put_error(scene: Scene) -> list[Part]:
    inside = scene.voice.write_inside()
    if not scene.frames:
        return [Part(scene.fault.body.encode() or inside.data)]
    if scene.fault.kind == "error_event" and not inside.event:
        inside = inside._replace(event="error")
    if scene.fault.body:
        inside = inside._replace(data=scene.fault.body.encode())
    return scene.put_in(Part(scene.voice.write_frame(inside, scene.newline), then="end"))


def _duplicate(scene: Scene) -> list[Part]:
    return scene.put_in(*scene.parts[scene.place - 1 : scene.place])


def _swap(scene: Scene) -> list[Part]:
    parts, place = [*scene.parts], scene.place
    if 0 < place < len(parts) and parts[place].mark == parts[place - 1].mark == "content":
        parts[place - 1], parts[place] = parts[place], parts[place - 1]
    return parts


def _speak_on(scene: Scene) -> list[Part]:
    content = next((part for part in scene.parts if part.mark == "content"), Part())
    return scene.put_in(content)


def _drop_done(scene: Scene) -> list[Part]:
    return [part for part in scene.parts if part.mark != "done"]


def _answer_html(scene: Scene) -> list[Part]:
    return [Part(scene.fault.body.encode() or _HTML)]


def _answer_nothing(_scene: Scene) -> list[Part]:
    return []


def _comment(scene: Scene) -> list[Part]:
    """Comments before every frame; Anthropic sends events named ping as well."""
    named = any(frame.event == "message_stop" for frame in scene.frames)
    ping = scene.voice.write_frame(_PING, scene.newline) if named else b""
    data = b": mock" + scene.newline + scene.newline + ping
    return [each for part in scene.parts for each in (Part(data), part)]


_PLAYS: Final[dict[str, Callable[[Scene], list[Part]]]] = {
    "hang": _stop,
    "cut": _stop,
    "reset": _stop,
    "early_end": _stop,
    "delay": _delay,
    "drip": _drip,
    "truncated_json": _truncate,
    "broken_frame": _break_frame,
    "garbage": _put_garbage,
    "trailing_garbage": _trail_garbage,
    "bad_utf8": _break_text,
    "bad_chunk": _break_chunk,
    "error_in_200": _put_error,
    "error_event": _put_error,
    "duplicate": _duplicate,
    "reorder": _swap,
    "after_finish": _speak_on,
    "no_done": _drop_done,
    "html": _answer_html,
    "empty": _answer_nothing,
    "comments": _comment,
}
