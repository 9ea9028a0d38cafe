"""Flows on the terminal in the four formats of `hubble observe`.

compact is one line a flow, client on the left; dict is a block of lines; table
waits for the end to align its columns; json is the whole response for programs.
Scripts parse all of them, so their form is fixed by golden files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from daemon.cli import jsonpb
from daemon.cli.flowtext import FlowText, enum_name, escape, lost_summary, type_text
from daemon.cli.tables import columns, extra_text
from daemon.proto import flow_pb2, observer_pb2, relay_pb2, remora_pb2

FORMATS = ("compact", "dict", "jsonpb", "json", "table")
_NODE_LIMIT = 50
_STATE_TEXT = {
    relay_pb2.NODE_CONNECTED: "Receiving flows from {count} nodes: {nodes}",
    relay_pb2.NODE_UNAVAILABLE: "{count} nodes are unavailable: {nodes}",
    relay_pb2.NODE_GONE: "{count} nodes removed from cluster: {nodes}",
    relay_pb2.NODE_ERROR: 'Error "{message}" on {count} nodes: {nodes}',
}


@dataclass
class Printer(ABC):
    """Writes flows to `out`, states of nodes to `err` (None: not at all)."""

    out: TextIO
    err: TextIO | None
    text: FlowText
    node: bool = False
    extra: bool = False
    debug: bool = False

    def write(self, item: remora_pb2.FlowItem) -> None:
        """One element of the stream."""
        response = item.response
        kind = response.WhichOneof("response_types")
        if kind == "flow":
            self.flow(response, item.extra)
        elif kind == "lost_events":
            self.lost(response)
        elif kind == "node_status" and self.err and self._shown(response.node_status):
            self.status(response, self.err)

    def _shown(self, status: relay_pb2.NodeStatusEvent) -> bool:
        return self.debug or status.state_change in (relay_pb2.NODE_UNAVAILABLE, relay_pb2.NODE_ERROR)

    @abstractmethod
    def flow(self, response: observer_pb2.GetFlowsResponse, extra: remora_pb2.FlowExtra) -> None:
        """Write a flow."""

    @abstractmethod
    def lost(self, response: observer_pb2.GetFlowsResponse) -> None:
        """Write that events were lost."""

    def status(self, response: observer_pb2.GetFlowsResponse, err: TextIO) -> None:
        """Write the state of nodes behind an aggregator."""
        when = self.text.time(response.time)
        node = f" [{response.node_name}]" if response.node_name else ""
        err.write(f"{when}{node}: {node_status_text(response.node_status)}\n")

    def close(self) -> None:
        """Write what was held back."""
        self.out.flush()


def node_status_text(status: relay_pb2.NodeStatusEvent) -> str:
    """`2 nodes are unavailable: a, b`, the list cut after 50 characters."""
    names: list[str] = []
    for name in status.node_names:
        if names and sum(len(one) + len(", ") for one in (*names, name)) > _NODE_LIMIT:
            break
        names.append(name)
    hidden = len(status.node_names) - len(names)
    nodes = ", ".join(names) + (f" (and {hidden} more)" if hidden else "")
    form = _STATE_TEXT.get(status.state_change, "unknown state of {count} nodes: {nodes}")
    return escape(form.format(count=len(status.node_names), nodes=nodes, message=status.message))


class CompactPrinter(Printer):
    """One line a flow: `TIME: client -> server TYPE VERDICT (SUMMARY)`."""

    def flow(self, response: observer_pb2.GetFlowsResponse, extra: remora_pb2.FlowExtra) -> None:
        flow, text = response.flow, self.text
        node = f" [{escape(flow.node_name)}]" if self.node else ""
        left = f"{text.source(flow)} {text.identity(flow.source)}"
        right = f"{text.destination(flow)} {text.identity(flow.destination)}"
        arrow = "<>"
        if flow.HasField("is_reply"):
            arrow = "<-" if flow.is_reply.value else "->"
            left, right = (right, left) if flow.is_reply.value else (left, right)
        tail = f" {extra_text(extra)}" if self.extra and extra.ByteSize() else ""
        self.out.write(
            f"{text.time(flow.time)}{node}: {left} {arrow} {right} "
            f"{type_text(flow)} {text.verdict(flow)} ({text.summary(flow)}){tail}\n"
        )

    def lost(self, response: observer_pb2.GetFlowsResponse) -> None:
        lost = response.lost_events
        source = enum_name(flow_pb2.LostEventSource, lost.source)
        when = self.text.time(response.time)
        self.out.write(f"{when} EVENTS LOST: {source} {lost_summary(lost, self.text, ' ')}\n")


@dataclass
class DictPrinter(Printer):
    """A block of `KEY: value` lines a flow, blocks parted by dashes."""

    first: bool = True

    def flow(self, response: observer_pb2.GetFlowsResponse, extra: remora_pb2.FlowExtra) -> None:
        flow, text = response.flow, self.text
        node = [("NODE", escape(flow.node_name))] if self.node else []
        self._block(
            ("TIMESTAMP", text.time(flow.time)),
            *node,
            ("SOURCE", text.source(flow)),
            ("DESTINATION", text.destination(flow)),
            ("TYPE", type_text(flow)),
            ("VERDICT", text.verdict(flow)),
            ("SUMMARY", text.summary(flow)),
        )

    def lost(self, response: observer_pb2.GetFlowsResponse) -> None:
        lost = response.lost_events
        self._block(
            ("TIMESTAMP", self.text.time(response.time)),
            *([("NODE", escape(response.node_name) or "-")] if self.node else []),
            ("SOURCE", enum_name(flow_pb2.LostEventSource, lost.source)),
            ("TYPE", "EVENTS LOST"),
            ("VERDICT", "-"),
            ("SUMMARY", lost_summary(lost, self.text, " - ")),
        )

    def status(self, response: observer_pb2.GetFlowsResponse, err: TextIO) -> None:
        status = response.node_status
        self._block(
            ("TIMESTAMP", self.text.time(response.time)),
            ("STATE", enum_name(relay_pb2.NodeState, status.state_change)),
            ("NODES", escape(", ".join(status.node_names))),
            ("MESSAGE", escape(status.message)),
            out=err,
        )

    def _block(self, *pairs: tuple[str, str], out: TextIO | None = None) -> None:
        target = out or self.out
        if target is self.out:
            target.write("" if self.first else "------------\n")
            self.first = False
        target.write("".join(f"{key:>11}: {value}\n" for key, value in pairs))


@dataclass
class TablePrinter(Printer):
    """Aligned columns, written when the stream ends."""

    rows: list[Sequence[str]] = field(default_factory=list)

    def flow(self, response: observer_pb2.GetFlowsResponse, extra: remora_pb2.FlowExtra) -> None:
        flow, text = response.flow, self.text
        node = [escape(flow.node_name)] if self.node else []
        ends = [text.source(flow), text.destination(flow)]
        self.rows.append([text.time(flow.time), *node, *ends, type_text(flow), text.verdict(flow), text.summary(flow)])

    def lost(self, response: observer_pb2.GetFlowsResponse) -> None:
        lost = response.lost_events
        node = [escape(response.node_name) or "-"] if self.node else []
        source = enum_name(flow_pb2.LostEventSource, lost.source)
        summary = lost_summary(lost, self.text, " - ")
        self.rows.append([self.text.time(response.time), *node, source, "-", "EVENTS LOST", "-", summary])

    def close(self) -> None:
        node = ["NODE"] if self.node else []
        header = ["TIMESTAMP", *node, "SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY"]
        if self.rows:
            self.out.write(columns([header, *self.rows]))
        self.out.flush()


class JsonPrinter(Printer):
    """The whole response on one line; states of nodes go to stderr."""

    def flow(self, response: observer_pb2.GetFlowsResponse, extra: remora_pb2.FlowExtra) -> None:
        self.out.write(jsonpb.line(response, {"extra": jsonpb.to_dict(extra)} if self.extra else None) + "\n")

    def lost(self, response: observer_pb2.GetFlowsResponse) -> None:
        self.out.write(jsonpb.line(response) + "\n")

    def status(self, response: observer_pb2.GetFlowsResponse, err: TextIO) -> None:
        err.write(jsonpb.line(response) + "\n")


PRINTERS: dict[str, type[Printer]] = {
    "compact": CompactPrinter,
    "dict": DictPrinter,
    "table": TablePrinter,
    "json": JsonPrinter,
}
