"""The file in which `remora config` keeps what would otherwise stand on every command line: how the agent is reached.

YAML, one flag a line. It lies at $REMORA_CONFIG, or below $XDG_CONFIG_HOME, or in ~/.config.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daemon.cli.errors import CliError

ENVIRONMENT = "REMORA_CONFIG"


def path() -> Path:
    """Where the file is or would be."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111 - no home is no error
    return Path(base) / "remora" / "config.yaml"


def read() -> Mapping[str, Any]:
    """What the file says; nothing where there is none. Raises CliError for a file that cannot be read."""
    file = path()
    try:
        text = file.read_text()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except OSError as error:
        raise CliError(f"cannot read {file}: {error.strerror}") from error
    import yaml  # most command lines go without

    try:
        found = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise CliError(f"{file} is no YAML: {error}") from error
    if not isinstance(found, dict):
        raise CliError(f"{file} must hold one flag a line, such as `server: unix:///run/remora/remora.sock`")
    return found


def write(values: Mapping[str, Any]) -> None:
    """Keep these values. Raises CliError where the file cannot be written."""
    import yaml

    file = path()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(dict(values)))
        file.chmod(0o600)
    except OSError as error:
        raise CliError(f"cannot write {file}: {error.strerror}") from error
