"""Where the text of a Gemini answer comes from: searched pages, and passages that it recites.

Gemini API reference, "GroundingMetadata" and "CitationMetadata", and its page "Grounding with
Google Search"; Vertex AI names the list of recited passages otherwise (read 2026-11-22). Places
are told in bytes of UTF-8, and given out in characters.
"""

from collections.abc import Iterator

import msgspec

from trunkline.events import Citation


class Source(msgspec.Struct, gc=False):
    """A page or document."""

    uri: str | None = None
    title: str | None = None


class GroundingChunk(msgspec.Struct, gc=False, rename="camel"):
    """A source by the sort of search that found it."""

    web: Source | None = None
    retrieved_context: Source | None = None
    maps: Source | None = None


class Segment(msgspec.Struct, gc=False, rename="camel"):
    """A piece of the answer; its place counts from the start of its part."""

    start_index: int | None = None
    end_index: int | None = None
    text: str | None = None


class GroundingSupport(msgspec.Struct, gc=False, rename="camel"):
    """A piece of the answer and the numbers of its sources."""

    segment: Segment | None = None
    grounding_chunk_indices: list[int] | None = None


class GroundingMetadata(msgspec.Struct, gc=False, rename="camel"):
    """All that was found for an answer."""

    grounding_chunks: list[GroundingChunk] | None = None
    grounding_supports: list[GroundingSupport] | None = None


class RecitedPassage(msgspec.Struct, gc=False, rename="camel"):
    """A piece of the answer that stands in a known work."""

    start_index: int | None = None
    end_index: int | None = None
    uri: str | None = None
    title: str | None = None


class CitationMetadata(msgspec.Struct, gc=False, rename="camel"):
    """Recited passages, under the Gemini API's name and under Vertex AI's."""

    citation_sources: list[RecitedPassage] | None = None
    citations: list[RecitedPassage] | None = None


def list_citations(
    text: str, grounded: GroundingMetadata | None, quoted: list[CitationMetadata]
) -> list[Citation]:
    """Every source with an address, once for each place; at 0 to 0 where no place is told."""
    data = text.encode()
    found: dict[Citation, None] = {}
    if grounded is not None:
        found.update(dict.fromkeys(_read_grounding(text, data, grounded)))
    for metadata in quoted:
        for passage in (*(metadata.citation_sources or ()), *(metadata.citations or ())):
            if passage.uri:
                start = _count_characters(data, passage.start_index)
                end = _count_characters(data, passage.end_index)
                found[Citation(passage.uri, passage.title or "", start, end)] = None
    return list(found)


def _read_grounding(text: str, data: bytes, grounded: GroundingMetadata) -> Iterator[Citation]:
    chunks = grounded.grounding_chunks or []
    if not grounded.grounding_supports:
        for chunk in chunks:
            yield from _cite(chunk, 0, 0)
        return
    for support in grounded.grounding_supports:
        start, end = _place(text, data, support.segment or Segment())
        for number in support.grounding_chunk_indices or ():
            if 0 <= number < len(chunks):
                yield from _cite(chunks[number], start, end)


def _cite(chunk: GroundingChunk, start: int, end: int) -> Iterator[Citation]:
    source = chunk.web or chunk.retrieved_context or chunk.maps
    if source is not None and source.uri:
        yield Citation(source.uri, source.title or "", start, end)


def _place(text: str, data: bytes, segment: Segment) -> tuple[int, int]:
    """Characters of the whole text; where it has several parts, the segment is looked for."""
    start, end = segment.start_index or 0, segment.end_index or 0
    if segment.text and data[start:end] != segment.text.encode():
        at = text.find(segment.text)
        return (at, at + len(segment.text)) if at >= 0 else (0, 0)
    return _count_characters(data, start), _count_characters(data, end)


def _count_characters(data: bytes, place: int | None) -> int:
    return len(data[: max(place or 0, 0)].decode("utf-8", "ignore"))
