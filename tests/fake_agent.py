"""A small program in a Flume agent's place: it "drains" the files of a folder, and shows its counters over HTTP.

    python tests/fake_agent.py PORT FOLDER [--stuck]

With `--stuck`, or as long as there is a file `.stuck` in the folder, it lives and answers, and drains nothing.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

drained = 0


class Metrics(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(
            {
                "CHANNEL.c": {"Type": "CHANNEL", "ChannelCapacity": "100", "ChannelSize": "0"},
                "SOURCE.s": {"Type": "SOURCE", "EventAcceptedCount": str(drained)},
                "SINK.k": {"Type": "SINK", "EventDrainSuccessCount": str(drained)},
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def drain(folder: Path, *, stuck: bool) -> None:
    global drained  # noqa: PLW0603 - the program's one counter
    while True:
        if not stuck and not (folder / ".stuck").exists():
            for path in folder.glob("[!.]*"):
                path.unlink()
                drained += 1
        time.sleep(0.1)


def main(port: str, folder: str, *flags: str) -> None:
    print(  # noqa: T201 - what the test looks for in its log
        f"agent on port {port}, logging in with {json.dumps('postgresql://me:pa55word@db/x')}", flush=True
    )
    threading.Thread(target=drain, args=(Path(folder),), kwargs={"stuck": "--stuck" in flags}, daemon=True).start()
    HTTPServer(("127.0.0.1", int(port)), Metrics).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
