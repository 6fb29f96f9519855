"""See partitions.sh. Requests are written by hand so that no client's own work is measured."""

import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

BINARY, PARTITIONS, TOPICS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
START_S_MAX, IDLE_MB_PER_10000_MAX = 3, 100
PER_TOPIC = PARTITIONS // TOPICS


def crc32c_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def batch():
    """One record: no key, the value `v`."""
    record = bytes([0, 0, 0, 1, 2]) + b"v" + bytes([0])
    record = bytes([2 * len(record)]) + record
    now = int(time.time() * 1000)
    checked = struct.pack(">hiqqqhii", 0, 0, now, now, -1, -1, -1, 1) + record
    return struct.pack(">qiibI", 0, 9 + len(checked), -1, 2, crc32c(checked)) + checked


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


def topic(number):
    return f"topic-{number:04}"


class Server:
    def __init__(self, data):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        listen = f"127.0.0.1:{self.port}"
        if os.path.basename(BINARY) == "serve":
            command = [BINARY, data, listen]
        else:
            command = [BINARY, "server", "--data-dir", data, "--listen", listen, "--http-listen", "127.0.0.1:0"]
        self.began = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.connection = None

    def connect(self):
        while True:
            try:
                self.connection = socket.create_connection(("127.0.0.1", self.port), timeout=600)
                self.ask(3, 1, struct.pack(">i", 0))
                return time.perf_counter() - self.began
            except (ConnectionError, struct.error):
                if self.process.poll() is not None:
                    sys.exit("the server has ended")
                time.sleep(0.001)

    def ask(self, key, version, body):
        request = struct.pack(">hhih", key, version, 7, -1) + body
        self.connection.sendall(struct.pack(">i", len(request)) + request)
        length = struct.unpack(">i", self.read(4))[0]
        return self.read(length)[4:]

    def read(self, length):
        parts = []
        while length:
            part = self.connection.recv(min(length, 1 << 20))
            if not part:
                raise ConnectionError("closed")
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def create(self, number):
        body = struct.pack(">i", 1) + text(topic(number)) + struct.pack(">ihii", PER_TOPIC, 1, 0, 0)
        answer = self.ask(19, 2, body + struct.pack(">ib", 600_000, 0))
        code = struct.unpack_from(">h", answer, 4 + 4 + len(text(topic(number))))[0]
        assert code == 0, f"CreateTopics: {code}"

    def produce(self, number, partitions):
        """Appends a record to partitions of a topic, acks=1."""
        records = batch()
        body = struct.pack(">hhii", -1, 1, 30_000, 1) + text(topic(number)) + struct.pack(">i", len(partitions))
        for partition in partitions:
            body += struct.pack(">ii", partition, len(records)) + records
        answer = self.ask(0, 3, body)
        at = 4 + len(text(topic(number))) + 4
        for place in range(len(partitions)):
            code = struct.unpack_from(">h", answer, at + place * 22 + 4)[0]
            assert code == 0, f"Produce: {code}"

    def held(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            fields = dict(line.split(":", 1) for line in status)
        resident, anonymous = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon"))
        files = len(os.listdir(f"/proc/{self.process.pid}/fd"))
        return resident, anonymous, files

    def stop(self):
        began = time.perf_counter()
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        assert self.process.returncode == 0, self.process.returncode
        return time.perf_counter() - began


def tell(what, server):
    resident, anonymous, files = server.held()
    print(f"{what}: {resident:.0f} MB resident ({anonymous:.0f} MB of it not file pages), {files} open files")
    return resident


def main():
    count = PER_TOPIC * TOPICS
    idle_mb_max = max(1, count / 10_000) * IDLE_MB_PER_10000_MAX
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as data:
        server = Server(data)
        server.connect()
        began = time.perf_counter()
        for number in range(TOPICS):
            server.create(number)
        print(f"{count} partitions made in {time.perf_counter() - began:.1f} s")
        made = tell("just made", server)
        print(f"stopped in {server.stop():.2f} s")
        worst, idle = 0, made
        for when in ("never written", "one record in each"):
            server = Server(data)
            first = server.connect()
            server.produce(TOPICS - 1, [PER_TOPIC - 1])
            last = time.perf_counter() - server.began
            print(f"start, {when}: first Metadata answer after {first * 1000:.0f} ms, record in the last partition"
                  f" after {last * 1000:.0f} ms")
            time.sleep(1)
            idle = max(idle, tell("idle", server))
            worst = max(worst, last)
            began = time.perf_counter()
            for number in range(TOPICS):
                server.produce(number, list(range(PER_TOPIC)))
            print(f"a record in every partition took {time.perf_counter() - began:.2f} s")
            time.sleep(3)
            tell("all written", server)
            blocks = sum(os.stat(os.path.join(at, name)).st_blocks for at, _, names in os.walk(data) for name in names)
            print(f"on disk: {blocks * 512 / (1 << 20):.0f} MB")
            print(f"stopped in {server.stop():.2f} s")
        if worst > START_S_MAX or idle > idle_mb_max:
            sys.exit(f"FAILED: at most {START_S_MAX} s and {idle_mb_max:.0f} MB are wanted")


main()
