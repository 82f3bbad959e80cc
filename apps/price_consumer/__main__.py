"""`python -m apps.price_consumer`: count web events by price until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace

from prometheus_client import CollectorRegistry

from apps.price_consumer.consumer import Options, PriceConsumer
from apps.price_consumer.events import PriceLimits
from apps.price_consumer.status import Metrics, health
from apps.status_server import status_server
from penstock.core.errors import Fatal
from penstock.core.process import end_with_parent, stop_signal
from penstock.core.settings import Influx, Kafka, events_ahead, price_limits
from penstock.pipelines import WEB_EVENTS

_log = logging.getLogger(__name__)


def main() -> None:
    """Read the command line and the environment, and consume."""
    parser = argparse.ArgumentParser(prog="python -m apps.price_consumer", description="Count web events by price.")
    parser.add_argument("--host", default="127.0.0.1", help="address of /healthz and /metrics (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="its port (default: a free one)")
    parser.add_argument("--group", default=WEB_EVENTS.counted_by, help="consumer group (default: %(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    end_with_parent()
    stopping = stop_signal()
    try:
        options = Options(PriceLimits(*price_limits()), events_ahead() * 1000)
        stream = replace(WEB_EVENTS, counted_by=arguments.group)
        consumer = PriceConsumer(stream, options, Kafka.from_env(), Influx.from_env())
        registry = CollectorRegistry()
        registry.register(Metrics(consumer))
        with status_server(arguments.host, arguments.port, lambda: health(consumer), registry) as port:
            _log.info("counting %s; its health is at http://%s:%d/healthz", WEB_EVENTS.topic, arguments.host, port)
            consumer.run(stopping)
    except Fatal as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
