"""Plays the demo: opens the shop, shows what the agent sees of it, sums it up, and clears everything away.

The stage is cleared by name and whatever happened, so there is no moment at which something could be forgotten.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from daemon.demo.processes import stop
from daemon.demo.shop import Shop
from daemon.demo.signals import Interrupted, Rest, resting
from daemon.demo.stage import DemoError, Stage
from daemon.demo.summary import Summary, text

SETTLE = 0.6  # s after the last request until its records are in the store
VIEW = ("-f", "--traffic-direction", "egress")  # both ends are on this node: show every packet once
_AN_HOUR = 3600.0
_RULE = "─" * 78
_NEXT = """
What to try next:
  sudo make demo ARGS=--keep    the shop stays open, to be explored with remora status, observe and the rest
  sudo make install             remora for this host's own workloads; sudo remora agent runs it
"""


def play(duration: float, keep: bool) -> int:
    """Play for `duration` seconds; the exit code. Raises RemoraError."""
    stage = Stage()
    with stage.lock(), resting() as rest:
        for leftover in stage.clear():
            say(f"removed what an earlier demo left: {leftover}")
        try:
            _perform(stage, rest, duration, keep)
        except Interrupted as signal:
            say(f"stopped by {signal}")
            return signal.exit_code
        except DemoError as error:
            say(str(error))  # with the line breaks of a log
            raise DemoError(error.what, "see above") from error
        finally:
            stage.clear()
            say("cleaned up: no namespaces, pins, cgroups or processes are left")
    return 0


def say(words: str) -> None:
    """A line of the demo's own, apart from the flows."""
    print(f"==> {words}", flush=True)


def hints(stage: Stage, keep: bool) -> str:
    """What to try next, as commands that work as they stand."""
    if not keep:
        return _NEXT
    remora = Path(sys.executable).parent / "remora"
    lines = (
        f"export REMORA_SERVER={stage.server}",
        f"{remora} status",
        f"{remora} service list",
        f"{remora} endpoint list",
        f"{remora} observe --last 20 --protocol http",
        f"{remora} observe -f --to-pod shop/payments",
        f"nsenter --net=/run/netns/{stage.name} curl -s http://127.0.0.1:9965/metrics",
        f"$EDITOR {stage.manifests}/shop.yaml     # the agent follows",
    )
    return "\nThe shop stays open. As root, in another terminal:\n\n  " + "\n  ".join(lines) + "\n\nCtrl-C closes it."


def _perform(stage: Stage, rest: Rest, duration: float, keep: bool) -> None:
    say("making the workloads as network namespaces, linked to a node in one of its own")
    with Shop(stage, rest) as shop:
        say("starting the agent beside them: it compiles its programs and attaches to what it finds")
        shop.open()
        say(f"the shop is open; {duration:g} s of its traffic, as `remora observe {' '.join(VIEW)}` shows it")
        _watch(shop, rest, duration, keep)
        print(hints(stage, keep), flush=True)
        if keep:
            _stay(rest)


def _watch(shop: Shop, rest: Rest, duration: float, keep: bool) -> None:
    print(_RULE, flush=True)
    view = shop.start_view(*VIEW)
    began = datetime.now(UTC)
    client = shop.start_client()
    rest.sleep(duration)
    if not keep:
        stop(client)
    rest.sleep(SETTLE)
    stop(view)
    print(_RULE, flush=True)
    print(text(Summary.of(shop.client.flows(began))), flush=True)


def _stay(rest: Rest) -> None:
    """Being ended is the regular end of a shop that stays open."""
    try:
        while True:
            rest.sleep(_AN_HOUR)
    except Interrupted:
        say("closing the shop")
