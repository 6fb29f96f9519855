"""See startup.sh. The request is written by hand so that no client library's own start is measured."""

import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

BINARY, RUNS = sys.argv[1], int(sys.argv[2])
ANSWER_MS_MAX, MEMORY_MB_MAX = 200, 40


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def first_answer(port, deadline):
    """Sends Metadata v1 for no topics until a server answers."""
    body = struct.pack(">hhih", 3, 1, 7, -1) + struct.pack(">i", 0)
    while time.perf_counter() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(struct.pack(">i", len(body)) + body)
                if struct.unpack(">i", connection.recv(8)[4:8])[0] == 7:
                    return time.perf_counter()
        except (ConnectionError, struct.error):
            time.sleep(0.001)
    raise TimeoutError("no answer")


def resident_mb(pid):
    with open(f"/proc/{pid}/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return int(fields["VmRSS"].split()[0]) / 1024, int(fields["RssAnon"].split()[0]) / 1024


def start(data):
    port = free_port()
    began = time.perf_counter()
    server = subprocess.Popen(
        [BINARY, "server", "--data-dir", data, "--listen", f"127.0.0.1:{port}", "--http-listen", "127.0.0.1:0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        answered = first_answer(port, began + 20)
        time.sleep(1)
        memory = resident_mb(server.pid)
    finally:
        server.terminate()
        server.wait()
    return (answered - began) * 1000, *memory


def main():
    worst = []
    with tempfile.TemporaryDirectory() as root:
        for name, directory in (("new data directory", None), ("existing one", f"{root}/kept")):
            runs = [start(directory or f"{root}/{run}") for run in range(RUNS)]
            answer, resident, anonymous = (statistics.median(column) for column in zip(*runs))
            print(f"{name}: first Metadata answer {answer:.0f} ms, idle memory {resident:.1f} MB resident"
                  f" ({anonymous:.1f} MB of it not file pages); medians of {RUNS}")
            worst.append((answer, resident))
    if any(answer > ANSWER_MS_MAX or resident > MEMORY_MB_MAX for answer, resident in worst):
        sys.exit(f"FAILED: at most {ANSWER_MS_MAX} ms and {MEMORY_MB_MAX} MB are wanted")


main()
