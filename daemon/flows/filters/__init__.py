"""Which flows a client gets: the meaning of `flow.FlowFilter`.

A flow is accepted when some filter of the whitelist matches it, or the whitelist is empty, and no filter of the
blacklist does. Within a filter all fields that are set must match; within a field any of its values may. A filter that
cannot be understood fails the request with the words that Hubble's server uses, since its clients print them.

Telling a record as a flow costs 25 microseconds, so `prefilter` looks at the columns first. It knows only some fields,
and lets pass whatever it cannot judge.
"""

from daemon.flows.filters.compile import compile_filter, compile_lists
from daemon.flows.filters.errors import FilterError
from daemon.flows.filters.own import accepts_own
from daemon.flows.filters.prefilter import prefilter, prefilter_any

__all__ = [
    "FilterError",
    "accepts_own",
    "compile_filter",
    "compile_lists",
    "prefilter",
    "prefilter_any",
]
