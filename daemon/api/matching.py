"""Which flows a request selects: a quick look at columns, then the filters themselves on what is left."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.flows.filters import compile_lists, own, prefilter_any
from daemon.flows.filters.prefilter import Mask
from daemon.flows.record import RowArray
from daemon.model import Directory
from daemon.proto import flow_pb2, remora_pb2


class Selection:
    """The lists of a request, compiled; raises FilterError (a ValueError) for one that cannot be understood."""

    def __init__(
        self,
        whitelist: Sequence[flow_pb2.FlowFilter],
        blacklist: Sequence[flow_pb2.FlowFilter],
        options: remora_pb2.FlowOptions,
        directory: Directory,
    ) -> None:
        self._options = options
        self._own = own.asks(options)
        self.everything = not whitelist and not blacklist and not self._own
        self.needs_extra = self._own or not options.plain
        self._accepts = compile_lists(whitelist, blacklist)
        self._prefilter = prefilter_any(whitelist, directory)
        self._mask_own = own.mask_own(options)

    def mask(self, rows: RowArray) -> Mask:
        """(n,) bool: rows that may match; never leaves one out that does."""
        return self._prefilter(rows) & self._mask_own(rows) if self._own else self._prefilter(rows)

    def accepts(self, flow: flow_pb2.Flow, extra: remora_pb2.FlowExtra | None) -> bool:
        """Whether the filters let a flow pass; `extra` is there where `needs_extra`."""
        if self.everything:
            return True
        return self._accepts(flow) and (extra is None or own.accepts_own(self._options, flow, extra))
