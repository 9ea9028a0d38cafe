"""`remora config`: keep the flags that say how the agent is reached, so that they need not be typed."""

from __future__ import annotations

import os
from pathlib import Path

import click

from daemon.cli import config, times
from daemon.cli.errors import CliError, UsageError
from daemon.cli.options import SERVER_KEYS

_FLAGS = frozenset(key for key, value in SERVER_KEYS.items() if value in ("true", "false"))
_DURATIONS = frozenset({"timeout", "request-timeout"})


@click.group("config")
def command() -> None:
    """Keep flags of the connection in a file; the environment and the command line win over it.

    `check` is about another file: the agent's own settings.
    """


@command.command("check")
@click.argument("file", required=False, type=click.Path(path_type=Path))
def check(file: Path | None) -> None:
    """Read the settings of an agent (default: /etc/remora/config.yaml) and name a mistake by its line."""
    from daemon.flows.metrics import MetricsError, parse
    from daemon.settings_file import DEFAULT_PATH, load, refuse
    from ebpf.errors import RemoraError

    named = file or (DEFAULT_PATH if DEFAULT_PATH.exists() else None)
    try:
        found = load(file)
        try:
            parse(found.metrics)
        except MetricsError as error:
            assert named, "the defaults are right"
            refuse(named.read_text(), str(named), ("metrics", error.what.removeprefix("metrics: "), error.hint))
    except RemoraError as error:
        raise CliError(str(error)) from error
    click.echo(f"{named}: no mistakes" if named else f"there is no {DEFAULT_PATH}: the defaults are in force")


@command.command("view")
def view() -> None:
    """All values in force, as YAML."""
    import yaml

    click.echo(yaml.safe_dump({key: _value(key) for key in SERVER_KEYS}), nl=False)


@command.command("get")
@click.argument("key", required=False, default="")
def get(key: str) -> None:
    """The value of KEY, or all of them."""
    for one in [_known(key)] if key else SERVER_KEYS:
        click.echo(_value(one) if key else f"{one}: {_value(one)}")


@command.command("set")
@click.argument("key")
@click.argument("value", required=False, default="")
def put(key: str, value: str) -> None:
    """Keep VALUE for KEY; without one, the default."""
    known = _known(key)
    config.write({**config.read(), known: _checked(known, value) if value else SERVER_KEYS[known]})


@command.command("reset")
@click.argument("key", required=False, default="")
def reset(key: str) -> None:
    """Forget what is kept for KEY, or everything."""
    kept = config.read()
    config.write({name: value for name, value in kept.items() if key and name != _known(key)})


def _known(key: str) -> str:
    if key not in SERVER_KEYS:
        raise UsageError(f"unknown key: {key}")
    return key


def _checked(key: str, value: str) -> str:
    try:
        if key in _DURATIONS:
            times.duration_ns(value)
        elif key in _FLAGS and value not in ("true", "false"):
            raise ValueError(f"{value!r} is neither true nor false")
    except ValueError as error:
        expected = "duration" if key in _DURATIONS else "bool"
        raise UsageError(f"cannot assign value={value} for key={key}, expected type={expected}: {error}") from error
    return value


def _value(key: str) -> str:
    """What is in force without a flag."""
    variable = "REMORA_" + key.upper().replace("-", "_")
    return os.environ.get(variable) or str(config.read().get(key, SERVER_KEYS[key]))
