"""From wanted Services to what the kernel balances by.

`selection` says which endpoints may be used, `table` compiles a snapshot to frontends and backends, `numbers` gives
each Service port its number, `plan` finds the difference to what the kernel has, and `reconcile` writes it in an order
that no connection can trip over.
"""

from daemon.services.reconcile import Applied, Changes, ServiceReconciler
from daemon.services.table import PortKey, ServicePortEntry, ServiceTable, compile_services

__all__ = [
    "Applied",
    "Changes",
    "PortKey",
    "ServicePortEntry",
    "ServiceReconciler",
    "ServiceTable",
    "compile_services",
]
