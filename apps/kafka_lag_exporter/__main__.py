"""`python -m apps.kafka_lag_exporter`: tell every consumer group's lag until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import sys
from functools import partial

from prometheus_client import CollectorRegistry

from apps.kafka_lag_exporter.exporter import Exporter
from apps.kafka_lag_exporter.minutes import note
from apps.status_server import status_server
from penstock.core.errors import Fatal
from penstock.core.process import end_with_parent, stop_signal
from penstock.core.settings import Kafka, lag_seconds, ledger_url
from penstock.kafka.group_lags import GroupLags
from penstock.ledger.streams import Streams
from penstock.pipelines import STREAMS

_log = logging.getLogger(__name__)


def main() -> None:
    """Read the command line and the environment, and measure."""
    parser = argparse.ArgumentParser(
        prog="python -m apps.kafka_lag_exporter", description="Tell consumer groups' lags."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address of /healthz and /metrics (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="its port (default: a free one)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    end_with_parent()
    stopping = stop_signal()
    try:
        noted = partial(note, Streams(ledger_url()), STREAMS.values())
        exporter = Exporter(GroupLags(Kafka.from_env().bootstrap_servers), lag_seconds(), noted)
        registry = CollectorRegistry()
        registry.register(exporter)
        with status_server(arguments.host, arguments.port, exporter.health, registry) as port:
            _log.info("the lags are at http://%s:%d/metrics", arguments.host, port)
            exporter.run(stopping)
    except Fatal as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
