"""Takes out what nobody may read who only has to find a fault: credentials, wherever they got into a text.

Settings hold no secrets, only paths to them, and the log must never say one. This is the second lock: a report leaves
the host, so what looks like a credential is taken out of it whatever its origin.
"""

from __future__ import annotations

import re

GONE = "[removed]"

_NAMED = r"[\w-]*(?:token|password|passwd|secret|credential|api[_-]?key|key-data|certificate-data)[\w-]*"
_PATTERNS = (
    (re.compile(r"-----BEGIN [^-]+-----.*?(?:-----END [^-]+-----|\Z)", re.DOTALL), GONE),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), rf"\1 {GONE}"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"), GONE),
    (re.compile(r"(://)[^/\s@\"']+@"), rf"\1{GONE}@"),
    (re.compile(rf"(?i)\b({_NAMED}\\?[\"']?\s*[:=]\s*)(\\?\"[^\"]*\"|'[^']*'|[^\s\"',;&}}]+)"), rf"\1{GONE}"),
)


def redacted(text: str) -> str:
    """The text without credentials."""
    for pattern, words in _PATTERNS:
        text = pattern.sub(words, text)
    return text
