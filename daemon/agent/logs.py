"""The agent's log, on standard error: lines for people on a terminal, one JSON object a line for everybody else.

Messages carry names, addresses and reasons; never credentials, never payload.
"""

from __future__ import annotations

import json
import logging
import sys
from collections import deque
from datetime import UTC, datetime

from daemon.settings import Settings

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
TALKATIVE = ("asyncio", "httpcore2", "httpx2", "pyroute2")
"""libraries that report what only their own authors want to know"""


class JsonFormatter(logging.Formatter):
    """`time` (RFC 3339), `level`, `logger`, `message`, and `error` with the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


class Recent(logging.Handler):
    """The last lines of the log, kept for a report; long ones are cut, so it never holds more than two megabytes."""

    LINES = 1_000
    LENGTH = 2_000  # characters

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=self.LINES)
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self._lines.append(self.format(record)[: self.LENGTH])

    def text(self) -> str:
        """The lines, oldest first."""
        return "".join(f"{line}\n" for line in list(self._lines))


RECENT = Recent()


def begin(settings: Settings) -> None:
    """Write the log as the settings say; called again it takes new settings over."""
    people = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(TEXT) if people else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler, RECENT]
    root.setLevel(settings.log_level.upper())
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
