"""The one exception of the filters."""

from __future__ import annotations


class FilterError(ValueError):
    """A filter cannot be understood; the text is for the client as it is."""


def quoted(text: str) -> str:
    """Text as the messages quote it: in double quotes, with backslash escapes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if escaped.isprintable() else f'"{escaped.encode("unicode_escape").decode()}"'
