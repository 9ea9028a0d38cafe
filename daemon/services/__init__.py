"""From wanted Services to what the kernel balances by.

`exposure` says under which addresses a Service is reached and `selection` which endpoints may be used; `blocks` puts
both together for one Service or pod, and `compile` a snapshot to a `table`. `numbers` gives each Service port its
number, `force` knows what the kernel was brought to, `plan` finds the writes that lead on, and `reconcile` does them in
an order that no connection can trip over.
"""

from daemon.services.compile import compile_services
from daemon.services.force import Applied, PortsInForce, every_port
from daemon.services.reconcile import Changes, ServiceReconciler
from daemon.services.table import Block, Origin, PortKey, Scope, ServicePortEntry, ServiceTable

__all__ = [
    "Applied",
    "Block",
    "Changes",
    "Origin",
    "PortKey",
    "PortsInForce",
    "Scope",
    "ServicePortEntry",
    "ServiceReconciler",
    "ServiceTable",
    "compile_services",
    "every_port",
]
