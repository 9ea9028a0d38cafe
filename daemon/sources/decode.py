"""Documents to objects: which kinds are read, lists unpacked, wrong values refused with their line.

A wrong value refuses the whole file, because a file is what an editor saves: half of one is nobody's intention.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from daemon.model.nodes import NodeObject
from daemon.model.objects import EndpointSlice, KubeObject, Namespace, ObjectRef, Pod, Service
from daemon.model.policies import ClusterNetworkPolicy, NetworkPolicy
from daemon.model.shields import PATTERNS, SHIELD_VERSION, Shield
from daemon.sources.checks import notes
from daemon.sources.defaults import CLUSTER_WIDE, with_defaults
from daemon.sources.manifest import Document, ManifestError, Path, read_documents
from daemon.sources.policies import refusals
from daemon.sources.shields import shield_refusals

KINDS: dict[tuple[str, str], type[KubeObject]] = {
    ("v1", "Service"): Service,
    ("v1", "Pod"): Pod,
    ("v1", "Namespace"): Namespace,
    ("v1", "Node"): NodeObject,
    ("discovery.k8s.io/v1", "EndpointSlice"): EndpointSlice,
    ("networking.k8s.io/v1", "NetworkPolicy"): NetworkPolicy,
    ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"): ClusterNetworkPolicy,
    (SHIELD_VERSION, "Shield"): Shield,
}

_OWN = SHIELD_VERSION.partition(".")[0]
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_PATTERN = re.compile(r"`str` matching regex '(.*)'")
_STEP = re.compile(r"\.(?P<name>\w+)|\[(?P<index>\d*|\.\.\.)\]")


@dataclass(frozen=True, slots=True)
class Note:
    """A part of a file that has no effect, and why."""

    line: int
    message: str


@dataclass(frozen=True, slots=True)
class Located:
    """An object with its name, and the line at which it begins."""

    object: KubeObject
    ref: ObjectRef
    line: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of one file."""

    objects: tuple[Located, ...] = ()
    ignored: tuple[ObjectRef, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """An object's place in its document; a list's items inherit `kind` where they do not write it."""

    document: Document
    path: Path
    kind: str = ""
    version: str = ""

    @property
    def value(self) -> Any:
        here = self.document.value
        for step in self.path:
            here = here[step]
        return here

    def line(self, *steps: str | int) -> int:
        return self.document.line_of((*self.path, *steps))


def read_manifest(text: str) -> Manifest:
    """All objects of a file. Raises ManifestError where the text or an object in it cannot be decoded."""
    objects: list[Located] = []
    ignored: list[ObjectRef] = []
    found_notes: list[Note] = []
    for document in read_documents(text):
        for place in _objects(_Place(document, ())):
            found = _decoded(place)
            if isinstance(found, ObjectRef):
                ignored.append(found)
                continue
            objects.append(Located(found, found.ref, place.line()))
            found_notes += (Note(place.line(*path), f"{found.ref}: {message}") for path, message in notes(found))
    return Manifest(tuple(objects), tuple(ignored), tuple(found_notes))


def _objects(place: _Place) -> Iterator[_Place]:
    """The objects of a document: none, one, or those of a list."""
    value = place.value
    if value is None:
        return
    if not isinstance(value, dict):
        raise ManifestError(place.line(), "not an object", "a document is a mapping with apiVersion and kind")
    kind, version = _text(place, "kind") or place.kind, _text(place, "apiVersion") or place.version
    if not kind.endswith("List"):
        yield _Place(place.document, place.path, kind, version)
        return
    items = value.get("items", [])
    if not isinstance(items, list):
        raise ManifestError(place.line("items"), "items of a list is not a sequence")
    inherited = ("", "") if kind == "List" else (kind.removesuffix("List"), version)
    for index in range(len(items)):
        yield from _objects(_Place(place.document, (*place.path, "items", index), *inherited))


def _text(place: _Place, key: str) -> str:
    value = place.value.get(key, "")
    if not isinstance(value, str):
        raise ManifestError(place.line(key), f"{key} is not text")
    return value


def _decoded(place: _Place) -> KubeObject | ObjectRef:
    """The object at a place, or only its name where the kind is not read."""
    if not place.kind or not place.version:
        missing = "apiVersion" if place.kind else "kind"
        raise ManifestError(place.line(), f"object without {missing}", f"write {missing}")
    kind = KINDS.get((place.version, place.kind))
    if kind is None:
        if place.version.startswith(_OWN):
            what = f"there is no {place.kind} of {place.version}; write apiVersion: {SHIELD_VERSION} and kind: Shield"
            raise ManifestError(place.line("apiVersion"), what)
        return _name_only(place)
    try:
        found = with_defaults(msgspec.convert(place.value, kind))
    except msgspec.ValidationError as error:
        what, where = _explained(error)
        field = where.lstrip(".") or "object"
        label = _label(place, issubclass(kind, CLUSTER_WIDE))
        raise ManifestError(place.line(*_steps(where)), f"{place.kind} {label}: {field}: {what}") from error
    for path, what in (*refusals(found), *shield_refusals(found)):
        raise ManifestError(place.line(*path), f"{found.ref}: {_written(path)}: {what}")
    return found


def _written(path: Path) -> str:
    """A path as the API server writes it: spec.ingress[0].from."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def _name_only(place: _Place) -> ObjectRef:
    metadata = place.value.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    return ObjectRef(place.kind, str(known.get("namespace", "")), str(known.get("name", "")))


def _label(place: _Place, cluster_wide: bool) -> str:
    ref = _name_only(place)
    return ref.name or "?" if cluster_wide else f"{ref.namespace or 'default'}/{ref.name or '?'}"


def _explained(error: msgspec.ValidationError) -> tuple[str, str]:
    """What is wrong in people's words, and the path of the field."""
    what, _, where = str(error).partition(" - at `$")
    where = where.rstrip("`")
    if unknown := _UNKNOWN.fullmatch(what):
        return "there is no such field; was another one meant?", f"{where}.{unknown[1]}"
    return _PATTERN.sub(lambda match: PATTERNS.get(match[1], match[0]), what), where


def _steps(where: str) -> Path:
    """`.spec.ports[0].port`, as msgspec writes a path, to its steps; `[...]` is a value of a mapping, left out."""
    steps: list[str | int] = []
    for match in _STEP.finditer(where):
        if match["name"]:
            steps.append(match["name"])
        elif match["index"].isdigit():
            steps.append(int(match["index"]))
    return tuple(steps)
