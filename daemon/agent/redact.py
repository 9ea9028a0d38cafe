"""Takes out what nobody may read who only has to find a fault: credentials, wherever they got into a text.

Settings hold no secrets, only paths to them, and the log must never say one. This is the second lock: a report leaves
the host, so what looks like a credential is taken out of it whatever its origin.
"""

from __future__ import annotations

import re

GONE = "[removed]"

_WORDS = (
    r"token|password|passwd|passphrase|pwd|psk|secret|credential|cookie|authorization|signature"
    r"|(?:api|access|private|secret)[_-]?key|(?:key|certificate)-?data"
)
_NAMED = rf"[\w.-]{{0,40}}(?:{_WORDS})[\w-]{{0,40}}"  # bounded, or long words take for ever
_VALUE = r"""(?:\\"(?:(?!\\").)*\\"|"(?:[^"\\]|\\.)*"?|'(?:[^']|'')*'?|[^\s"',;&}]+)"""
_PATTERNS = (
    (re.compile(r"-----BEGIN [^-]+-----.*?(?:-----END [^-]+-----|\Z)", re.DOTALL), GONE),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), rf"\1 {GONE}"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"), GONE),
    (re.compile(r"(://)[^/\s\"']+@"), rf"\1{GONE}@"),
    # a header, to its end
    (re.compile(r"(?i)\b((?:[\w-]{0,40}authorization|(?:set-)?cookie)\s*[:=]\s*)(?![\\\"'])[^\"'\r\n]+"), rf"\1{GONE}"),
    # a block of YAML: the deeper lines below the name
    (
        re.compile(
            rf"(?im)^(([ \t]*)(?:- )?{_NAMED}:)(?:[ \t]*[|>][-+\d]*)?[ \t]*(?:\n(?:\2[ \t]+\S.*|[ \t]*(?=\n)))+"
        ),
        rf"\1 {GONE}",
    ),
    (re.compile(rf"(?i)\b({_NAMED}\\?[\"']?\s*[:=][ \t]*){_VALUE}"), rf"\1{GONE}"),
    (re.compile(rf"(?i)(--{_NAMED}\s+)(?!-){_VALUE}"), rf"\1{GONE}"),
    # in a sentence, where it cannot be a word: long, of letters and digits
    (
        re.compile(
            rf"(?i)\b((?:{_WORDS})(?:\s+(?:is|was|of))?\s+[\\\"']*)(?=[\w+=.-]{{0,99}}\d)(?=[\w+=.-]{{0,99}}[a-z])[\w+/=.-]{{12,}}"
        ),
        rf"\1{GONE}",
    ),
)


def redacted(text: str) -> str:
    """The text without credentials."""
    for pattern, words in _PATTERNS:
        text = pattern.sub(words, text)
    return text
