"""Many connections on one broker: what an idle one costs, and whether busy ones are served beside them.

    connections.py BINARY BENCH [IDLE 5000] [BUSY 500]

BINARY is `ottla` or the broker's `serve` example, BENCH the client's `bench` example (see connections.sh). Prints memory
per idle connection, then the throughput of BUSY connections that produce at once with acks=all while all of the idle ones
stay open, and checks that each idle one still answers. Fails past 12 KiB for an idle connection.
"""

import json
import pathlib
import re
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import time

BINARY, BENCH = sys.argv[1:3]
IDLE, BUSY = (int(word) for word in (sys.argv[3:5] or ("5000", "500")))
IDLE_KIB_MAX = 12
API_VERSIONS = struct.pack(">hhih", 18, 0, 7, -1)


def start(folder, port):
    if pathlib.Path(BINARY).name == "ottla":
        command = [BINARY, "server", "--data-dir", folder, "--listen", f"127.0.0.1:{port}", "--http-listen", "127.0.0.1:0"]
    else:
        command = [BINARY, folder, f"127.0.0.1:{port}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def anonymous_kib(server):
    status = pathlib.Path(f"/proc/{server.pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", status)[1])


def ask(connection):
    connection.sendall(struct.pack(">i", len(API_VERSIONS)) + API_VERSIONS)
    length = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))[0]
    return struct.unpack(">i", connection.recv(length, socket.MSG_WAITALL)[:4])[0] == 7


def connect(port, deadline):
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=30)
            assert ask(connection)
            return connection
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def main():
    # This process holds one end of each idle connection, and its children inherit the limit.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        server = start(folder, port)
        try:
            first = connect(port, time.monotonic() + 20)
            before = anonymous_kib(server)
            began = time.monotonic()
            idle = [first, *(connect(port, time.monotonic() + 20) for _ in range(IDLE - 1))]
            opened = time.monotonic() - began
            time.sleep(1)
            each = (anonymous_kib(server) - before) / IDLE
            print(f"{IDLE} idle connections: opened in {opened:.1f} s, {each:.1f} KiB of memory for each")
            out = subprocess.run(
                [BENCH, "produce", "--bootstrap-server", f"127.0.0.1:{port}", "--topic", "busy", "--partitions", str(BUSY),
                 "--connections", str(BUSY), "--in-flight", "1", "--batch-size", "8192", "--records", str(BUSY * 1000),
                 "--output", "json"], check=True, text=True, capture_output=True).stdout
            said = json.loads(out)
            times = said["latency_ms"]
            print(f"{BUSY} busy connections beside them: {said['megabytes_per_second']:.0f} MB/s with acks=all, "
                  f"p50 {times['p50']:.1f} ms, p99 {times['p99']:.1f} ms; server holds {anonymous_kib(server) / 1024:.0f} MB")
            answered = sum(ask(connection) for connection in idle)
            print(f"{answered} of {IDLE} idle connections still answer")
        finally:
            server.kill()
            server.wait()
    if answered != IDLE or each > IDLE_KIB_MAX:
        sys.exit(f"FAILED: every idle connection should answer and take at most {IDLE_KIB_MAX} KiB")


main()
