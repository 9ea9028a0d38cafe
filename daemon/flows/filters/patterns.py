"""Rules with patterns: globs over DNS and node names, and regular expressions over application fields.

Hubble's regular expressions are RE2's, so they are RE2's here too. It matters beyond the syntax: patterns come from
whoever may ask, and RE2 runs in time linear in the text, where Python's engine can be made to run for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from daemon.flows.filters.errors import FilterError, quoted
from daemon.proto import flow_pb2

Predicate = Callable[[flow_pb2.Flow], bool]

_LITERAL = frozenset("-_0123456789abcdefghijklmnopqrstuvwxyz")
_GO_WORDS = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "trailing \\": "trailing backslash at end of expression",
}
_ANY_NAME = r"(?:[-0-9_a-z]+(?:\.[-0-9_a-z]+)*)"


def by_fqdn(names: Callable[[flow_pb2.Flow], Sequence[str]], values: Iterable[str]) -> Predicate:
    """Globs over whole DNS names; `*` also matches dots."""
    pattern = _compile("|".join(_glob(value) for value in values))
    return lambda flow: any(pattern.fullmatch(name) for name in names(flow))


def by_node_name(values: Iterable[str]) -> Predicate:
    """`[cluster/]node`, both globs, empty is any; a node without cluster is in `default`."""
    pattern = _compile("|".join(_node_glob(value) for value in values))

    def match(flow: flow_pb2.Flow) -> bool:
        name = flow.node_name
        return bool(name) and pattern.fullmatch(name if "/" in name else f"default/{name}") is not None

    return match


def searcher(patterns: Iterable[str], describe: Callable[[str, str], str]) -> Callable[[str], bool]:
    """Whether any of the regular expressions is found in a text; `describe` words an error from pattern and reason."""
    compiled = []
    for pattern in patterns:
        try:
            compiled.append(_compile(pattern))
        except FilterError as error:
            raise FilterError(describe(pattern, str(error))) from error
    return lambda text: any(expression.search(text) for expression in compiled)


def _compile(pattern: str) -> Any:
    import re2  # here, not above: a megabyte, and most agents are never asked for a pattern

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise FilterError(f"error parsing regexp: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """RE2's reason in the words of Go's port of it, which is what Hubble's users see."""
    raw = error.args[0] if error.args else ""
    text = raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)
    reason, _, part = text.partition(": ")
    words = _GO_WORDS.get(reason, reason)
    return f"{words}: `{part}`" if part else words


def _glob(value: str) -> str:
    text = value.strip().removesuffix(".").lower()
    if not text:
        raise FilterError("empty pattern")
    if text.endswith("."):
        raise FilterError("multiple trailing dots in pattern")
    return "".join(_glob_rune(rune) for rune in text)


def _glob_rune(rune: str) -> str:
    if rune in _LITERAL:
        return rune
    if rune == "*":
        return "[-.0-9a-z]*"
    if rune == ".":
        return r"\."
    raise FilterError(f"{quoted(rune).replace(chr(34), chr(39))}: invalid rune in pattern")


def _node_glob(value: str) -> str:
    if not value:
        raise FilterError("empty pattern")
    parts = value.split("/")
    if len(parts) > 2:
        raise FilterError("too many slashes in pattern")
    cluster, node = parts if len(parts) == 2 else ("", value)
    return "/".join(_glob(part) if part else _ANY_NAME for part in (cluster, node))
