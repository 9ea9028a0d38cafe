"""Entry of `remora agent`: settings, log, signals, one event loop."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from importlib.metadata import distributions
from pathlib import Path

from daemon import settings
from daemon.agent.agent import Agent
from ebpf.errors import RemoraError, UnsupportedError

OURS = {"daemon", "ebpf", "bpf_programs"}


def run(config: Path | None) -> None:
    """Run the agent until SIGTERM or SIGINT; raises RemoraError where it cannot start."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for talkative in ("pyroute2", "asyncio"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    refuse_strangers()
    loaded = settings.load(config)
    try:
        asyncio.run(_serve(loaded, config))
    except OSError as error:
        raise RemoraError(f"the agent cannot start: {error}") from error


async def _serve(loaded: settings.Settings, config: Path | None) -> None:
    agent = Agent(loaded, config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stop)
    await agent.run()


def refuse_strangers() -> None:
    """Our import names are plain words; raise UnsupportedError where another distribution claims one of them."""
    for distribution in distributions():
        name = distribution.metadata["Name"] or ""
        claimed = OURS & set((distribution.read_text("top_level.txt") or "").split())
        if claimed and name.lower() != "remora":
            raise UnsupportedError(
                f"the package {name} also provides {', '.join(sorted(claimed))}",
                "install remora into an environment of its own",
            )
