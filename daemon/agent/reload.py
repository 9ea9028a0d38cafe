"""Taking over changed settings without a restart, as far as that is possible.

What is fixed when maps are made or ports are bound needs a restart, which by itself touches no traffic. It is said
which is which; a file that cannot be read changes nothing.
"""

from __future__ import annotations

import logging

from msgspec.structs import asdict, replace

from daemon.settings import Settings

log = logging.getLogger(__name__)

RELOADABLE = frozenset(
    {
        "zone",
        "packet_path_runtimes",
        "packet_path_labels",
        "source_check",
        "xdp_devices",
        "acceleration",
        "log_level",
        "log_format",
        "verify_interval",
    }
)
"""settings that are read each time they are used"""


def taken_over(present: Settings, wanted: Settings) -> Settings:
    """The present settings with what can be taken from the wanted ones; the log says what was and what was not."""
    before, after = asdict(present), asdict(wanted)
    changed = {name for name in before if before[name] != after[name]}
    for name in sorted(changed - RELOADABLE):
        log.warning("setting %s changed: it takes a restart of the agent, which touches no traffic", name)
    for name in sorted(changed & RELOADABLE):
        log.info("setting %s is now %s", name, after[name])
    if not changed:
        log.info("settings: nothing changed")
    return replace(present, **{name: after[name] for name in changed & RELOADABLE})
