"""The agent: what is wanted (sources), what follows (services), what was seen (flows), who asks (api, cli).

Nothing here touches the kernel directly; that is the business of the package `ebpf`. The direction of imports is
`daemon.model`, then its users, then `daemon.api`, `daemon.agent` and `daemon.cli`; import-linter holds it.
"""
