"""YAML and JSON text to plain values, with the line of every key.

PyYAML's own constructors do not fit a daemon: libyaml's composer recurses and crashes the process on a few hundred
kilobytes of "[", values lose their lines, and timestamps become objects that no Kubernetes field takes. So this reads
libyaml's event stream, which does not recurse, with a depth limit, a limit on what aliases may expand to, and
the API server's habit of treating null as not written. JSON is read as the YAML that it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from ebpf.errors import RemoraError

DEPTH_LIMIT = 64  # levels of nesting; real manifests use about fifteen
WEIGHT_LIMIT = 10_000_000  # values of one document, aliases written out; 100,000 endpoints use about a million

Path = tuple[str | int, ...]

_CORE_TAG = "tag:yaml.org,2002:"
_RESOLVED_TAGS = {_CORE_TAG + name for name in ("null", "bool", "int", "float")}
_TEXTS = frozenset({"annotations", "labels", "matchLabels", "nodeSelector"})
"""Mappings of texts. A null in them is an empty one to the API server; who left it out would select more."""
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]{1,3})?")


class ManifestError(RemoraError):
    """A text cannot be read; `line` counts from 1, 0 when it is not known."""

    def __init__(self, line: int, what: str, hint: str = "") -> None:
        super().__init__(what, hint)
        self.line = line


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its value, and the lines by which a place in it is found again."""

    value: Any
    line: int
    lines: dict[tuple[int, str | int], int] = field(repr=False)

    def line_of(self, path: Path) -> int:
        """The line (from 1) of the value at `path`, or of the nearest thing around it that has a line."""
        here, line = self.value, self.line
        for step in path:
            line = self.lines.get((id(here), step), line)
            try:
                here = here[step]
            except (KeyError, IndexError, TypeError):
                break
        return line


class _Frame:
    """A mapping or sequence that is still open; `key` is where its next value goes."""

    __slots__ = ("anchor", "key", "line", "value", "weight")

    def __init__(self, value: dict[str, Any] | list[Any], anchor: str | None, line: int) -> None:
        self.value = value
        self.anchor = anchor
        self.line = line
        self.key: str | None = None
        self.weight = 1


class _Builder:
    """Values of one document from its events."""

    def __init__(self) -> None:
        self.root: Any = None
        self.line = 0
        self.lines: dict[tuple[int, str | int], int] = {}
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int]] = {}

    def feed(self, event: yaml.Event) -> None:
        line = _line(event)
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line)
        elif isinstance(event, yaml.MappingStartEvent):
            self._open({}, event.anchor, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._open([], event.anchor, line)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._close()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event.anchor, line)

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        frame = self._stack[-1] if self._stack else None
        if frame is not None and frame.key is None and type(frame.value) is dict:
            self._set_key(frame, event.value, line)
            return
        value = _resolved(event)
        if event.anchor:
            self._anchors[event.anchor] = value, 1
        self._put(value, 1, line)

    def _set_key(self, frame: _Frame, key: str, line: int) -> None:
        if key in frame.value:
            raise ManifestError(line, f'key "{key}" is written twice in one mapping', "remove one of the two")
        frame.key = key
        self.lines[id(frame.value), key] = line

    def _open(self, value: dict[str, Any] | list[Any], anchor: str | None, line: int) -> None:
        if len(self._stack) >= DEPTH_LIMIT:
            raise ManifestError(line, f"more than {DEPTH_LIMIT} levels of nesting", "write it flatter")
        self._refuse_as_key(line)
        self._stack.append(_Frame(value, anchor, line))

    def _close(self) -> None:
        frame = self._stack.pop()
        if isinstance(frame.value, dict) and "<<" in frame.value:
            _merge(frame.value, frame.line)
        if frame.anchor:
            self._anchors[frame.anchor] = frame.value, frame.weight
        self._put(frame.value, frame.weight, frame.line)

    def _alias(self, anchor: str | None, line: int) -> None:
        self._refuse_as_key(line)
        if anchor is None or anchor not in self._anchors:
            raise ManifestError(line, f"alias *{anchor} has no anchor before it", f"write &{anchor} at its first use")
        self._put(*self._anchors[anchor], line)

    def _refuse_as_key(self, line: int) -> None:
        frame = self._stack[-1] if self._stack else None
        if frame is not None and frame.key is None and isinstance(frame.value, dict):
            raise ManifestError(line, "a key is a mapping, a sequence or an alias", "keys are plain words")

    def _put(self, value: Any, weight: int, line: int) -> None:
        if not self._stack:
            self.root, self.line = value, line
            return
        frame = self._stack[-1]
        frame.weight += weight
        if frame.weight > WEIGHT_LIMIT:
            raise ManifestError(line, f"more than {WEIGHT_LIMIT:,} values, aliases written out", "split the file")
        if isinstance(frame.value, list):
            self.lines[id(frame.value), len(frame.value)] = line
            frame.value.append(value)
        else:
            if value is None and len(self._stack) > 1 and self._stack[-2].key in _TEXTS:
                value = ""
            if value is not None and frame.key is not None:
                frame.value[frame.key] = value
            frame.key = None


def read_documents(text: str) -> Iterator[Document]:
    """The documents of a text, one after the other. Raises ManifestError where the text is not YAML or too deep."""
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.DocumentStartEvent):
                builder = _Builder()
            elif isinstance(event, yaml.DocumentEndEvent):
                yield Document(builder.root, builder.line, builder.lines)
            else:
                builder.feed(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        raise ManifestError(mark.line + 1 if mark else 0, f"not YAML: {what}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ManifestError(line, f"not YAML: {error.reason}", "save the file as UTF-8 text") from error


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


def _resolved(event: yaml.ScalarEvent) -> str | int | float | bool | None:
    """A scalar's value: quoted ones are text, plain ones are what YAML 1.1's common words and numbers say."""
    text: str = event.value
    if not event.implicit[0] and event.tag not in _RESOLVED_TAGS:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _merge(mapping: dict[str, Any], line: int) -> None:
    """Replace the key `<<` by the mappings that it names; what the mapping has itself wins."""
    named = mapping.pop("<<")
    for source in named if isinstance(named, list) else [named]:
        if not isinstance(source, dict):
            raise ManifestError(line, '"<<" names something that is not a mapping', "name an anchored mapping")
        for key, value in source.items():
            mapping.setdefault(key, value)
