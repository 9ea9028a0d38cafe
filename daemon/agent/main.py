"""Entry of `remora agent`: settings, log, signals, one event loop.

The compiler, where it has to run, takes most of a second in a process of its own. So it is started first, and the
rest of the agent is imported while it works.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import distributions
from pathlib import Path

from daemon import settings
from ebpf import features
from ebpf.datapath import Datapath
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
        with ThreadPoolExecutor(1, thread_name_prefix="remora-start") as starter:
            opening = starter.submit(_open, loaded)
            asyncio.run(_serve(loaded, config, opening))
    except OSError as error:
        raise RemoraError(f"the agent cannot start: {error}") from error


def _open(loaded: settings.Settings) -> Datapath:
    return Datapath(Path(loaded.bpffs), Path(loaded.state_dir), loaded.options(), features.probe())


async def _serve(loaded: settings.Settings, config: Path | None, opening: Future[Datapath]) -> None:
    from daemon.agent.agent import Agent  # while the compiler works

    agent = Agent(loaded, config, await asyncio.wrap_future(opening))
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
