"""Entry of `remora agent`: settings, log, signals, one event loop.

The compiler, where it has to run, takes most of a second in a process of its own. So it is started first, and the
rest of the agent is imported while it works. Nothing heavy is imported before powers are given up: numpy starts a
thread, and a thread that is there already would keep them.
"""

from __future__ import annotations

import grp
import os
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

from daemon import settings, settings_file
from daemon.agent import logs
from ebpf import capabilities, memory
from ebpf.errors import RemoraError, UnsupportedError

if TYPE_CHECKING:
    from ebpf.datapath import Datapath

OURS = {"daemon", "ebpf", "bpf_programs"}


def run(config: Path | None) -> None:
    """Run the agent until SIGTERM or SIGINT; raises RemoraError where it cannot start."""
    refuse_strangers()
    loaded = settings_file.load(config)
    logs.begin(loaded)
    _give_up_power()
    memory.keep_little()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's algebra, never used here, starts one per processor
    from ebpf import datapath, features  # in this thread: two that import the same modules at once may block each other

    def opened(found: features.Features) -> datapath.Datapath:
        return datapath.Datapath(Path(loaded.bpffs), Path(loaded.state_dir), loaded.options(), found)

    try:
        _shut_files(loaded)
        with ThreadPoolExecutor(1, thread_name_prefix="remora-start") as starter:
            opening = starter.submit(opened, features.probe())  # here: beside imports each call waits for its turn
            import asyncio  # while the compiler works

            asyncio.run(_serve(loaded, config, opening))
    except OSError as error:
        raise RemoraError(f"the agent cannot start: {error}") from error


def _shut_files(loaded: settings.Settings) -> None:
    """What is written from here on is nobody else's; the socket's folder lets its group in."""
    for folder in (Path(loaded.state_dir), Path(loaded.socket).parent):
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    os.umask(0o077)


def _give_up_power() -> None:
    """Keep the capabilities that the agent uses; join the group of its socket first, as that takes one more."""
    with suppress(KeyError, PermissionError):
        os.setgroups([*os.getgroups(), grp.getgrnam(settings.API_GROUP).gr_gid])
    capabilities.keep_only(capabilities.AGENT)


async def _serve(loaded: settings.Settings, config: Path | None, opening: Future[Datapath]) -> None:
    import asyncio

    from daemon.agent.agent import Agent  # while the compiler works

    agent = Agent(loaded, config, await asyncio.wrap_future(opening))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stop)
    loop.add_signal_handler(signal.SIGHUP, agent.reload)
    await agent.run()


def refuse_strangers() -> None:
    """Our import names are plain words; raise UnsupportedError where another distribution claims one of them."""
    for distribution in distributions():
        claimed = OURS & set((distribution.read_text("top_level.txt") or "").split())
        if claimed and (distribution.metadata["Name"] or "").lower() != "remora":
            raise UnsupportedError(
                f"the package {distribution.metadata['Name']} also provides {', '.join(sorted(claimed))}",
                "install remora into an environment of its own",
            )
