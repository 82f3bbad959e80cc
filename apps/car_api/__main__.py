"""`python -m apps.car_api`: serve the car API until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import os
import sys

from apps.car_api.app import create_app
from apps.server import Server
from penstock.core import settings
from penstock.core.contract import Contract
from penstock.core.errors import Fatal
from penstock.kafka.courier import Courier


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m apps.car_api", description="Serve car sales.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8091, help="port to listen on (default: %(default)s)")
    parser.add_argument(
        "--kafka",
        default=os.environ.get("KAFKA_BOOTSTRAP_SERVERS"),
        help="HOST:PORT[,...] of the brokers (default: KAFKA_BOOTSTRAP_SERVERS)",
    )
    arguments = parser.parse_args()
    if not arguments.kafka:
        parser.error("where is Kafka? Set KAFKA_BOOTSTRAP_SERVERS, or give --kafka HOST:PORT")
    try:
        contract = Contract.load(settings.INCLUDE / "avro" / "car-transactions-logs.avsc")
        courier = Courier(arguments.kafka, settings.names().cars_topic)
    except Fatal as error:
        sys.exit(str(error))
    Server(create_app(contract, courier), arguments.host, arguments.port).run()


if __name__ == "__main__":
    main()
