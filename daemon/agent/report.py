"""What the agent itself can tell for a report of a problem, as files.

Everything is bounded: the log keeps its last lines, of a map only so many entries are told as were asked for, and no
file is longer than four megabytes. Nothing in it is a secret; see `daemon.agent.redact` for what is done about slips.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import yaml

from daemon.agent import logs
from daemon.agent.exposition import Exposition
from daemon.agent.redact import redacted
from ebpf.errors import KernelError
from ebpf.maps import HashMap

if TYPE_CHECKING:
    from daemon.agent.agent import Agent

LIMIT = 4 * 1024 * 1024  # bytes of a file

Part = tuple[str, bytes]


class Reporter:
    """Answers for one agent; each file is made in a thread."""

    def __init__(self, agent: Agent, metrics: Exposition) -> None:
        self._agent = agent
        self._metrics = metrics

    async def parts(self, entries: int) -> AsyncIterator[Part]:
        """The files one after the other, maps with that many entries. What cannot be read is told in its file."""
        maps = self._agent.programmer.datapath.maps
        makers: dict[str, Callable[[], str]] = {
            "settings.yaml": self._settings,
            "log.jsonl": logs.RECENT.text,
            "metrics.txt": lambda: self._metrics.text(False).decode(),
            "build.json": self._build,
            "policy.json": self._policy,
            "devices.json": self._devices,
            **{f"maps/{name}.jsonl": _dumper(table, entries) for name, table in sorted(maps.items())},
        }
        for name, make in makers.items():
            yield name, await asyncio.to_thread(_file, make)

    def _settings(self) -> str:
        told = msgspec.to_builtins(self._agent.settings)
        return f"# read from {self._agent.config or 'no file: all defaults'}\n{yaml.safe_dump(told, sort_keys=False)}"

    def _build(self) -> str:
        datapath = self._agent.programmer.datapath
        build = datapath.build
        told = {
            "build": build.id,
            "schema": build.schema,
            "compiled_by_this_agent": build.compiled,
            "refused_programs": build.missing,
            "kernel": datapath.features.release,
            "kernel_facts": dict(datapath.features.facts),
            "attachments": [{"program": a.program, "hook": a.hook, "where": a.where} for a in datapath.attachments()],
        }
        return json.dumps(told, indent=1)

    def _policy(self) -> str:
        programmer = self._agent.programmer
        table = programmer.policies.table
        rules = {number: _rule(rule) for number, rule in table.rules.items()}
        told = {
            "rules": rules,
            "packets_by_rule": programmer.datapath.rule_hits.totals(),
            "rulesets": {number: len(one.entries) for number, one in table.rulesets.items()},
            "classes": len(set(table.classes.values())),
            "networks": len(table.networks),
        }
        return json.dumps(told, indent=1)

    def _devices(self) -> str:
        agent = self._agent
        told = {
            "watched": {str(number): why or "attached" for number, why in agent.programmer.watched.items()},
            "found": [repr(one) for one in (*agent.devices.devices, *agent.devices.uplinks)],
            "failed_steps": dict(agent.programmer.failures),
        }
        return json.dumps(told, indent=1)


def _rule(rule: Any) -> dict[str, Any]:
    names = [f"{one.kind} {one.namespace}/{one.name}" for one in rule.policies]
    return {"policies": names, "direction": rule.direction.value, "place": rule.place, "action": rule.action}


def _file(make: Callable[[], str]) -> bytes:
    try:
        text = make()
    except (KernelError, OSError, ValueError) as error:
        text = f"not read: {error}\n"
    raw = redacted(text).encode()
    return raw if len(raw) <= LIMIT else raw[:LIMIT] + b"\n[cut here]\n"


def _dumper(table: HashMap, entries: int) -> Callable[[], str]:
    """The head of a map's file, and its first entries in the order of the kernel."""

    def dump() -> str:
        head = {"map": table.name, "entries_told": 0, "entries_held": table.fill, "max_entries": table.max_entries}
        lines: list[str] = []
        with table.beside() as twin:
            for keys, values in twin.chunks() if entries else ():
                room = entries - len(lines)
                lines += [
                    json.dumps({"key": _plain(key), "value": _plain(value)})
                    for key, value in zip(keys[:room], values[:room], strict=True)
                ]
                if len(lines) >= entries:
                    break
        head["entries_told"] = len(lines)
        return "\n".join([json.dumps(head), *lines, ""])

    return dump


def _plain(value: Any) -> Any:
    """A number, a list, or a struct by its fields; what is made of bytes in hexadecimal."""
    names = value.dtype.names
    if names:
        return {name: _plain(value[name]) for name in names}
    if value.dtype.kind in "SV":
        return np.asarray(value).tobytes().hex()
    return value.tolist()
