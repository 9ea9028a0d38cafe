"""Which flows a request selects: a quick look at columns, then the filters themselves on what is left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from daemon.api.view import AgentView
from daemon.flows.filters import compile_lists, own, prefilter_any
from daemon.flows.filters.prefilter import Mask
from daemon.flows.store import Rows
from daemon.proto import flow_pb2, remora_pb2


def _varies(one: flow_pb2.FlowFilter) -> bool:
    """Whether a filter asks for what distinguishes flows of the same ends."""
    return bool(one.uuid or one.source_port or one.destination_port or one.experimental.cel_expression)


def _sequences(whitelist: Sequence[flow_pb2.FlowFilter], view: AgentView) -> list[int] | None:
    """The records that a whitelist names by their identifiers; None where it may accept others."""
    if not whitelist or not all(one.uuid for one in whitelist):
        return None
    found = (view.builder.sequence(uuid) for one in whitelist for uuid in one.uuid)
    return [sequence for sequence in found if sequence is not None and sequence < 1 << 63]


class Selection:
    """The lists of a request, compiled; raises FilterError (a ValueError) for one that cannot be understood."""

    def __init__(
        self,
        whitelist: Sequence[flow_pb2.FlowFilter],
        blacklist: Sequence[flow_pb2.FlowFilter],
        options: remora_pb2.FlowOptions,
        view: AgentView,
    ) -> None:
        self._options = options
        self._own = own.asks(options)
        self.everything = not whitelist and not blacklist and not self._own
        self.needs_extra = self._own or not options.plain
        self.stable = not self._own and not any(_varies(one) for one in (*whitelist, *blacklist))
        self._accepts = compile_lists(whitelist, blacklist)
        self._prefilter = prefilter_any(whitelist, view.directory, view.builder.names)
        self._mask_own = own.mask_own(options)
        self._sequences = _sequences(whitelist, view)

    def judges(self, flow: flow_pb2.Flow) -> bool:
        """Where `stable`: whether flows pass that differ from this one in time, ports and identifier only."""
        return self._accepts(flow)

    def mask(self, rows: Rows) -> Mask:
        """(n,) bool: rows that may match; never leaves one out that does."""
        passed = self._prefilter(rows.rows)
        if self._own:
            passed = passed & self._mask_own(rows.rows)
        if self._sequences is not None:
            passed = passed & np.isin(np.arange(rows.start, rows.stop), self._sequences)
        return passed

    def accepts(self, flow: flow_pb2.Flow, extra: remora_pb2.FlowExtra | None) -> bool:
        """Whether the filters let a flow pass; `extra` is there where `needs_extra`."""
        if self.everything:
            return True
        return self._accepts(flow) and (extra is None or own.accepts_own(self._options, flow, extra))
