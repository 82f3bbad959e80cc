"""`python -m apps.replay_api`: serve the replay API until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
from datetime import datetime

from apps.replay_api.app import create_app
from apps.server import Server


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m apps.replay_api", description="Serve the shapes of Open-Meteo, Data USA and Wikimedia."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8600, help="port to listen on (default: %(default)s)")
    parser.add_argument("--now", type=_moment, help="stop the clock at this time, such as 2026-03-31T07:00Z")
    arguments = parser.parse_args()
    Server(create_app(arguments.now), arguments.host, arguments.port).run()


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 2026-03-31T07:00Z") from error
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} has no UTC offset: write {text}Z")
    return moment


if __name__ == "__main__":
    main()
