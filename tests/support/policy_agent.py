"""A stand-in for an agent that is killed: attaches, then brings one policy table after the other into force, for ever.

Run as `python -m tests.support.policy_agent PINS STATE CLIENT SERVER IFINDEX SEED` in the node's namespace; the first
two words are folders, CLIENT and SERVER addresses, IFINDEX the server's device. Prints `ready` when it is at work.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from daemon.policy.reconcile import PolicyReconciler
from ebpf import features
from ebpf.constants import PolicyFlag
from ebpf.datapath import Datapath
from tests.integration.policy_stage import OPTIONS
from tests.support.policy_states import guards, world


def main() -> None:
    pins, state, client, server, ifindex, seed = sys.argv[1:]
    datapath = Datapath(Path(pins), Path(state), OPTIONS, features.probe())
    policies = PolicyReconciler(datapath.maps, datapath.rule_hits, PolicyFlag(0))
    datapath.attach_device(int(ifindex), "server")
    generator = random.Random(int(seed))
    number = 0
    while True:
        number += 1
        made = world(generator, client, server, number)
        policies.apply(made.table, guards(made, int(ifindex)))
        if number == 1:
            print("ready", flush=True)


if __name__ == "__main__":
    main()
