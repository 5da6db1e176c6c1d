"""Runs in .venv-bench, where Circus and ZeroMQ are: sends commands of Circus, and waits for its events.

One JSON object a line on stdin, one a line on stdout. The clock is read here, right before the request and right after
the event, so that the way through the pipe is not counted against Circus.

Usage: circus_bridge.py ENDPOINT PUBSUB_ENDPOINT
"""

import json
import sys
import time
from typing import Any

import zmq  # type: ignore[import-not-found]
from circus.client import CircusClient  # type: ignore[import-not-found]

TIMEOUT = 120.0  # seconds


def main() -> None:
    """Serve requests until stdin ends."""
    endpoint, pubsub_endpoint = sys.argv[1:]
    client = CircusClient(endpoint=endpoint, timeout=TIMEOUT)
    events = zmq.Context.instance().socket(zmq.SUB)
    events.setsockopt(zmq.LINGER, 0)
    events.setsockopt(zmq.SUBSCRIBE, b"watcher.bench.reap")
    events.connect(pubsub_endpoint)
    for line in sys.stdin:
        request = json.loads(line)
        answer = send(client, request) if "command" in request else wait_reaped(events)
        print(json.dumps(answer), flush=True)


def send(client: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Send a command; `{asked_at: ns, answer: Circus's answer}`."""
    asked_at = time.monotonic_ns()
    try:
        answer = client.send_message(request["command"], **request["properties"])
    except Exception as error:
        answer = {"status": "error", "reason": f"{type(error).__name__}: {error}"}
    return {"asked_at": asked_at, "answer": answer}


def wait_reaped(events: Any) -> dict[str, Any]:
    """Wait for the next reap event; `{at: ns}`, null when none came."""
    heard = events.poll(TIMEOUT * 1000)
    at = time.monotonic_ns()
    if heard:
        events.recv_multipart()
    return {"at": at if heard else None}


if __name__ == "__main__":
    main()
