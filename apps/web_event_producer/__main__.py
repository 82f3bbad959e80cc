"""`python -m apps.web_event_producer`: write events to log files until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import sys
import time

from prometheus_client import CollectorRegistry

from apps.status_server import status_server
from apps.web_event_producer.log_files import only_producer
from apps.web_event_producer.producer import Producer
from penstock.core.errors import Fatal
from penstock.core.process import end_with_parent, stop_signal
from penstock.core.settings import WebEventLogs


def main() -> None:
    """Read the command line and the environment, and produce."""
    parser = argparse.ArgumentParser(
        prog="python -m apps.web_event_producer", description="Write what visitors of a shop do to log files."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address of the status port (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8093, help="status port (default: %(default)s)")
    arguments = parser.parse_args()
    stopping = stop_signal()
    end_with_parent()
    _log_in_utc()
    try:
        settings = WebEventLogs.from_env()
        registry = CollectorRegistry()
        with only_producer(settings.folder):
            producer = Producer(settings, registry)
            answers = {"/counts": producer.counts}
            with status_server(arguments.host, arguments.port, producer.health, registry, answers):
                producer.run(stopping)
    except Fatal as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"the producer can't go on: {error}")


def _log_in_utc() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)sZ %(levelname)s %(message)s", force=True)
    logging.Formatter.converter = time.gmtime


if __name__ == "__main__":
    main()
