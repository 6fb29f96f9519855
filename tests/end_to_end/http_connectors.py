#!/usr/bin/env python3
"""Records from a webhook through a topic to an HTTP endpoint, while the server is killed and the endpoint is down.

Usage: http_connectors.py OTTLA_BINARY. Every record that the webhook has answered with 200 must reach the endpoint, at
least once; nothing may show the endpoint's token. The endpoint is Python's http.server.
"""

import http.server
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

RECORDS = 300
KILLS = 6
PATIENCE_SECONDS = 300
TOKEN = "t0ken-of-the-endpoint"


class Endpoint(http.server.BaseHTTPRequestHandler):
    """Takes JSON arrays; refuses one in twenty, and all while it is down."""

    protocol_version = "HTTP/1.1"
    is_down = False
    taken = {}
    dice = random.Random()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Authorization"] == f"Bearer {TOKEN}"
        status = 503 if Endpoint.is_down or Endpoint.dice.random() < 0.05 else 200
        if status == 200:
            for record in json.loads(body):
                Endpoint.taken[record["id"]] = Endpoint.taken.get(record["id"], 0) + 1
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """A sink that is killed amid a request is no error."""


class Ottla:
    """A server that can be killed and started again on the same data."""

    def __init__(self, binary, data_dir):
        self.command = [binary, "server", "--data-dir", data_dir]
        for flag in ("--listen", "--http-listen", "--connect-listen"):
            self.command += [flag, "127.0.0.1:0"]
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        words = self.process.stdout.readline().split()
        self.rest = next(word.split("=", 1)[1] for word in words if word.startswith("connect="))

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.rest}{path}", data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.read().decode()


def send(url, number):
    """Sends a record until the webhook says that it is safe."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            body = json.dumps({"id": number}).encode()
            with urllib.request.urlopen(urllib.request.Request(url, body), timeout=120) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    sys.exit(f"the webhook does not take record {number}")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def run(binary, work, seed):
    Endpoint.dice = random.Random(seed)
    endpoint = Server(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=endpoint.serve_forever, daemon=True).start()
    hook = f"127.0.0.1:{free_port()}"
    ottla = Ottla(binary, os.path.join(work, "data"))
    try:
        source = {"connector.class": "WebhookSource", "topic": "events", "listen": hook, "value.schema": '{"id": "int"}'}
        ottla.call("PUT", "/connectors/in/config", source)
        sink = {
            "connector.class": "HttpSink", "topics": "events", "url": f"http://127.0.0.1:{endpoint.server_port}/in",
            "batch_size": 7, "bearer_token": TOKEN, "retry_backoff_ms": 5, "retry_timeout_ms": 500,
        }
        ottla.call("PUT", "/connectors/out/config", sink)
        dice = random.Random(seed)
        kills = set(dice.sample(range(RECORDS), KILLS))
        for number in range(RECORDS):
            Endpoint.is_down = RECORDS // 3 <= number < RECORDS // 2
            if number in kills:
                ottla.kill()
                ottla.start()
            send(f"http://{hook}/", number)
        Endpoint.is_down = False
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(Endpoint.taken) < RECORDS and time.monotonic() < deadline:
            time.sleep(0.05)
        shown = "".join(ottla.call("GET", f"/connectors/out{path}") for path in ("", "/config", "/tasks", "/status"))
        missing = sorted(set(range(RECORDS)) - set(Endpoint.taken))
        again = sum(Endpoint.taken.values()) - len(Endpoint.taken)
        print(f"http connectors, seed {seed}: {len(Endpoint.taken)} of {RECORDS} records, {again} again, {KILLS} kills")
        if missing or TOKEN in shown:
            sys.exit(f"missing: {missing}; the token is shown: {TOKEN in shown}")
    finally:
        ottla.kill()
        endpoint.shutdown()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        run(sys.argv[1], folder, int(os.environ.get("OTTLA_SEED", random.randrange(1 << 32))))
