"""Ottla beside Apache Kafka on this machine: the same client, one server after the other, medians of several runs.

    compare.py --ottla BINARY --bench BINARY [--kafka VERSION] [--runs 3] [--scale 1.0] [--only NAME,…] [--json FILE]

BINARY of --ottla is `ottla` or the broker's `serve` example; of --bench, the client's `bench` example, which has `floor`
beside it (see compare.sh, which builds them). Prints a table; a figure is the server's CPU seconds, the client's view of
time and throughput, or memory. Every scenario starts a server on an empty directory, warms it up with the same load, and measures.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VERBS = {"produce": "produce", "consume": "consume", "latency": "end-to-end"}
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    """One of two neighbours that are free: Kafka's controller takes the next one."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
            with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port + 1)):
                return port


def answers_metadata(port):
    body = struct.pack(">hhih", 3, 1, 7, -1) + struct.pack(">i", 0)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            return struct.unpack(">i", connection.recv(8)[4:8])[0] == 7
    except (OSError, struct.error):
        return False


class Server:
    """A broker of either kind, in its own process group, with its data in a folder of its own."""

    def __init__(self, kind, arguments, folder):
        self.kind, self.folder, self.port = kind, pathlib.Path(folder), free_port()
        if kind == "kafka":
            command = [ROOT / "scripts/kafka-server.sh", self.folder, str(self.port), arguments.kafka]
        elif pathlib.Path(arguments.ottla).name == "ottla":
            command = [arguments.ottla, "server", "--data-dir", self.folder, "--listen",
                       f"127.0.0.1:{self.port}", "--http-listen", "127.0.0.1:0"]
        else:
            command = [arguments.ottla, self.folder, f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        start_new_session=True)
        self.wait()

    def wait(self):
        deadline = time.monotonic() + 120
        while not answers_metadata(self.port):
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit(f"{self.kind} did not start")
            time.sleep(0.002)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory_mb(self):
        """What is not file pages: those belong to the page cache."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) / 1024, \
            int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def stop(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop_cleanly(self):
        is_example = pathlib.Path(self.process.args[0]).name == "serve"
        os.killpg(self.process.pid, signal.SIGINT if is_example else signal.SIGTERM)
        self.process.wait()


@contextlib.contextmanager
def server(kind, arguments):
    folder = tempfile.mkdtemp(prefix=f"compare-{kind}-", dir=arguments.folder)
    running = Server(kind, arguments, folder)
    try:
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


def touch_memory(arguments, megabytes):
    """A virtual machine may give free memory back to its host, and the first touch of every page afterwards costs more
    than everything a broker does with it. What is written and deleted here was touched just now."""
    with tempfile.TemporaryFile(dir=arguments.folder) as file:
        for _ in range(int(megabytes)):
            file.write(bytes(1 << 20))


def bench(arguments, running, verb, topic, partitions, records, record_bytes, acks):
    """Runs the client and gives its report and the server's CPU seconds meanwhile."""
    if verb == "produce":
        touch_memory(arguments, 1.2 * records * record_bytes / 1e6)
    before = running.cpu_seconds()
    words = [arguments.bench, VERBS[verb], "--bootstrap-server", running.address, "--topic", topic, "--partitions",
             partitions, "--output", "json"]
    if verb == "latency":
        words += ["--rate", records, "--record-size", record_bytes, "--acks", acks]
    else:
        words += ["--records", records]
    if verb == "produce":
        words += ["--record-size", record_bytes, "--acks", acks]
    out = subprocess.run([str(word) for word in words], check=True, text=True, capture_output=True).stdout
    said = json.loads(out)
    times = said["latency_ms"]
    report = {"records": said["records"], "mb": said["bytes"] / 1e6, "rate": said["records_per_second"],
              "mb_s": said["megabytes_per_second"], "p50": times["p50"], "p99": times["p99"], "p999": times["p99.9"]}
    report["cpu"] = running.cpu_seconds() - before
    report["cpu_per_gb"] = report["cpu"] / (report["mb"] / 1e3)
    report["cpu_per_million"] = report["cpu"] / (report["records"] / 1e6)
    return report


def produce(partitions, record_bytes, acks, records):
    def run(arguments, kind):
        scaled = int(records * arguments.scale)
        with server(kind, arguments) as running:
            bench(arguments, running, "produce", "warm-up", partitions, scaled // 2, record_bytes, acks)
            return bench(arguments, running, "produce", "measured", partitions, scaled, record_bytes, acks)
    return run


def consume(partitions, records):
    """Reads from the start what was just written: from the page cache, as most consumers do."""
    def run(arguments, kind):
        scaled = int(records * arguments.scale)
        with server(kind, arguments) as running:
            bench(arguments, running, "produce", "measured", partitions, scaled, 1000, "1")
            bench(arguments, running, "consume", "measured", partitions, scaled, 1000, "1")
            return bench(arguments, running, "consume", "measured", partitions, scaled, 1000, "1")
    return run


def floor(arguments, kind):
    """The same reader on a loop that only calls `sendfile`: what no broker can pass. Belongs to neither."""
    if kind == "kafka":
        return {"mb_s": 0.0}
    with server(kind, arguments) as running:
        bench(arguments, running, "produce", "measured", 1, 1_200_000, 1000, "1")
        segment = min((running.folder / "measured-0").glob("*.log"))
        floor = pathlib.Path(arguments.bench).with_name("floor")
        out = subprocess.run([floor, segment, "2"], check=True, text=True, capture_output=True)
        return {"mb_s": float(out.stdout)}


def plain_write(arguments, kind):
    """What the kernel alone takes for writes of 64 KB to a preallocated file. Belongs to neither."""
    if kind == "kafka":
        return {"mb_s": 0.0, "cpu_per_gb": 0.0}
    piece, count = bytes(1 << 16), 30_000
    touch_memory(arguments, 1.2 * count * len(piece) / 1e6)
    with tempfile.TemporaryFile(dir=arguments.folder) as file:
        os.posix_fallocate(file.fileno(), 0, count * len(piece))
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            os.write(file.fileno(), piece)
        elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
    gigabytes = count * len(piece) / 1e9
    return {"mb_s": gigabytes * 1000 / elapsed, "cpu_per_gb": cpu / gigabytes}


def device_sync(arguments, kind):
    """What the disk alone takes to make 5 KB more durable. Belongs to neither."""
    if kind == "kafka":
        return {"p50": 0.0, "p99": 0.0}
    times = []
    with tempfile.NamedTemporaryFile(dir=arguments.folder) as file:
        os.posix_fallocate(file.fileno(), 0, 64 << 20)
        for _ in range(1000):
            os.write(file.fileno(), bytes(5000))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
            time.sleep(0.001)
    times.sort()
    return {"p50": times[500], "p99": times[990]}


def latency(acks):
    def run(arguments, kind):
        with server(kind, arguments) as running:
            bench(arguments, running, "latency", "warm-up", 1, 5000, 1000, acks)
            return bench(arguments, running, "latency", "measured", 1, 5000, 1000, acks)
    return run


def start(arguments, kind):
    """From exec to the first answer, on a directory that was left by a clean stop; then idle memory."""
    folder = tempfile.mkdtemp(prefix=f"compare-{kind}-", dir=arguments.folder)
    try:
        Server(kind, arguments, folder).stop_cleanly()
        if kind == "kafka":
            subprocess.run([ROOT / "scripts/kafka.sh", arguments.kafka], check=True, stdout=subprocess.DEVNULL)
        began = time.perf_counter()
        running = Server(kind, arguments, folder)
        elapsed = time.perf_counter() - began
        time.sleep(3)
        anonymous, resident = running.memory_mb()
        running.stop()
        return {"start_ms": elapsed * 1000, "anonymous_mb": anonymous, "resident_mb": resident}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def memory_after(records):
    def run(arguments, kind):
        with server(kind, arguments) as running:
            scaled = int(records * arguments.scale)
            bench(arguments, running, "produce", "measured", 4, scaled, 1000, "1")
            bench(arguments, running, "consume", "measured", 4, scaled, 1000, "1")
            anonymous, resident = running.memory_mb()
            return {"anonymous_mb": anonymous, "resident_mb": resident}
    return run


# name: (what runs, the figures that are shown)
SCENARIOS = {
    "produce 1 KB, 1 partition, acks=1": (produce(1, 1000, "1", 2_000_000), ("mb_s", "cpu_per_gb")),
    "produce 1 KB, 16 partitions, acks=1": (produce(16, 1000, "1", 2_000_000), ("mb_s", "cpu_per_gb")),
    "produce 1 KB, 1 partition, acks=all": (produce(1, 1000, "all", 2_000_000), ("mb_s", "cpu_per_gb", "p99")),
    "produce 1 KB, 16 partitions, acks=all": (produce(16, 1000, "all", 2_000_000), ("mb_s", "cpu_per_gb", "p99")),
    "produce 100 B, 1 partition, acks=1": (produce(1, 100, "1", 10_000_000), ("rate", "cpu_per_million")),
    "consume 1 KB from the start, 1 partition": (consume(1, 2_000_000), ("mb_s", "cpu_per_gb")),
    "consume 1 KB from the start, 16 partitions": (consume(16, 2_000_000), ("mb_s", "cpu_per_gb")),
    "plain sendfile to the same reader": (floor, ("mb_s",)),
    "plain writes of 64 KB to a preallocated file": (plain_write, ("mb_s", "cpu_per_gb")),
    "the device's own sync": (device_sync, ("p50", "p99")),
    "end to end at 5,000/s, acks=1": (latency("1"), ("p50", "p99", "p999", "cpu")),
    "end to end at 5,000/s, acks=all": (latency("all"), ("p50", "p99", "p999", "cpu")),
    "start and idle memory": (start, ("start_ms", "anonymous_mb", "resident_mb")),
    "memory after 10 GB": (memory_after(10_000_000), ("anonymous_mb", "resident_mb")),
}
UNITS = {"mb_s": "MB/s", "cpu_per_gb": "CPU s/GB", "rate": "records/s", "cpu_per_million": "CPU s/million",
         "p50": "p50 ms", "p99": "p99 ms", "p999": "p99.9 ms", "cpu": "CPU s", "start_ms": "first answer ms",
         "anonymous_mb": "anonymous MB", "resident_mb": "resident MB"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ottla", required=True)
    parser.add_argument("--bench", required=True)
    parser.add_argument("--kafka", default="4.1.0")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", default="")
    parser.add_argument("--kinds", default="ottla,kafka")
    parser.add_argument("--folder", default=None, help="where the servers' data goes; on the disk to be measured")
    parser.add_argument("--json", default=None)
    arguments = parser.parse_args()
    chosen = [name for name in SCENARIOS if all(word in name for word in arguments.only.split(",") if word)]
    results = {}
    print("| | | " + " | ".join(arguments.kinds.split(",")) + " | ratio |")
    print("|---|---|" + "---|" * (len(arguments.kinds.split(",")) + 1))
    for name in chosen:
        run, figures = SCENARIOS[name]
        medians = {}
        for kind in arguments.kinds.split(","):
            reports = [run(arguments, kind) for _ in range(arguments.runs)]
            medians[kind] = {figure: statistics.median(report[figure] for report in reports) for figure in reports[0]}
        results[name] = medians
        for figure in figures:
            values = [medians[kind][figure] for kind in medians]
            ratio = f"{values[0] / values[1]:.2f}" if len(values) == 2 and values[1] else ""
            print(f"| {name} | {UNITS[figure]} | " + " | ".join(f"{value:.3g}" if value < 1000 else f"{value:.0f}"
                  for value in values) + f" | {ratio} |", flush=True)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(results, indent=1))


main()
