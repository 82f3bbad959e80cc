"""`python -m apps.penstock_exporter`: tell what Penstock knows of itself until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import sys

from prometheus_client import CollectorRegistry

from apps.penstock_exporter.exporter import LEDGER, Exporter
from apps.penstock_exporter.ledger import DeadLettersPart, LedgerPart, TotalsPart
from apps.penstock_exporter.outside import FlumePart, SpoolsPart, look_at_data
from apps.penstock_exporter.part import Part
from apps.status_server import status_server
from penstock.core.errors import Fatal
from penstock.core.process import end_with_parent, stop_signal
from penstock.core.settings import Kafka, exporter_seconds, ledger_url

_log = logging.getLogger(__name__)

_LETTERS_SECONDS = 30
_TOTALS_SECONDS = 60
_DATA_SECONDS = 60


def parts() -> list[Part]:
    """What the environment tells to look at. Raises Fatal where an address is missing."""
    seconds, url = exporter_seconds(), ledger_url()
    return [
        Part(LEDGER, LedgerPart(url).look, seconds),
        Part("totals", TotalsPart(url).look, max(seconds, _TOTALS_SECONDS)),
        Part("dead_letters", DeadLettersPart(url, Kafka.from_env()).look, max(seconds, _LETTERS_SECONDS)),
        Part("flume", FlumePart().look, seconds),
        Part("spools", SpoolsPart().look, seconds),
        Part("data", look_at_data, max(seconds, _DATA_SECONDS)),
    ]


def main() -> None:
    """Read the command line and the environment, and look."""
    parser = argparse.ArgumentParser(prog="python -m apps.penstock_exporter", description="Tell Penstock's metrics.")
    parser.add_argument("--host", default="127.0.0.1", help="address of /healthz and /metrics (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="its port (default: a free one)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    end_with_parent()
    stopping = stop_signal()
    try:
        exporter = Exporter(parts())
        registry = CollectorRegistry()
        registry.register(exporter)
        with status_server(arguments.host, arguments.port, exporter.health, registry) as port:
            _log.info("the metrics are at http://%s:%d/metrics", arguments.host, port)
            exporter.run(stopping)
    except Fatal as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
