"""`python -m apps.recentchange_collector`: collect until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from functools import partial

from apps.recentchange_collector import status
from apps.recentchange_collector.collector import Collector, State
from apps.recentchange_collector.feed import Feed
from apps.recentchange_collector.spool import Spool
from apps.status_server import status_server
from penstock.core.errors import Fatal
from penstock.core.process import end_with_parent
from penstock.core.settings import WikiCollector

log = logging.getLogger(__name__)


def main() -> None:
    """Read the command line and the environment, and collect."""
    parser = argparse.ArgumentParser(
        prog="python -m apps.recentchange_collector", description="Collect Wikimedia's recent changes into a spool."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address of the status server (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8092, help="port of the status server (default: %(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    end_with_parent()
    try:
        asyncio.run(_collect(WikiCollector.from_env(), arguments.host, arguments.port))
    except* Fatal as group:
        sys.exit("; ".join(str(error) for error in group.exceptions))


async def _collect(chosen: WikiCollector, host: str, port: int) -> None:
    feed, state = Feed(chosen.url, chosen.contact, chosen.idle_seconds), State()
    health, answers = partial(status.health, state), {"/counts": partial(status.counts, state)}
    with Spool(chosen.folder, chosen.spool_bytes) as spool:
        collector = Collector(feed, spool, chosen.file_bytes, chosen.file_seconds, state)
        with status_server(host, port, health, status.registry(state), answers):  # from now on it knows its counts
            await _until_told_to_stop(collector)


async def _until_told_to_stop(collector: Collector) -> None:
    running = asyncio.ensure_future(collector.run())
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        log.info("stopped")


if __name__ == "__main__":
    main()
