"""Cases that fail for a known reason. Each is run all the same, and one that passes fails the run until it is removed.

The key is a case's full name, or what of it stands before the first slash for all that begin so.
"""

from __future__ import annotations

PENDING: dict[str, str] = {
    "node-sctp": "no socket program is called for SCTP, so nobody translates what the node itself asks for",
}
