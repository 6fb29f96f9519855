"""The example pipelines on a server that is killed at random moments, also while they are applied. Each round begins with nothing,
applies one pipeline, kills the server up to eight times before all is done, lets the pipeline drain, and holds what its sink has against a batch
computation over the same input.

Usage: pipelines.py KILLS SEED OTTLA [NAME...]: so many kills of each pipeline.
"""
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "pipelines"
KILLS_A_ROUND = 8
# A kill comes so soon after the server has said that it is ready, in seconds.
LIFE_MAX = float(os.environ.get("OTTLA_LIFE_MAX", "0.6"))
PATIENCE = 300


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, **options)


class Server:
    """A server over a folder. Its ports are free ones, new with each start."""

    def __init__(self, ottla, folder, log):
        listen = [word for name in ("", "http-", "registry-", "connect-", "pg-")
                  for word in (f"--{name}listen", "127.0.0.1:0")]
        self.process = subprocess.Popen([ottla, "server", "--data-dir", folder, *listen], stdout=subprocess.PIPE,
                                        stderr=log, text=True)
        ready = self.process.stdout.readline()
        if not ready.startswith("ready "):
            sys.exit(f"the server does not start: {ready!r}; see {log.name}")
        self.http = "http://" + dict(word.split("=") for word in ready.split()[1:])["http"]

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def state(self, name):
        with urllib.request.urlopen(f"{self.http}/pipelines/{name}", timeout=30) as answer:
            return json.load(answer)


def weather(work):
    """Readings like the example's, of more stations."""
    with open(EXAMPLES / "sensors/data/frames.csv") as file:
        header, *lines = file.read().splitlines()
    with open(work / "frames.csv", "w") as file:
        file.write(header + "\n")
        for line in lines:
            station, frame = line.split(",")
            file.writelines(f"{station}-{copy},{frame}\n" for copy in range(6))
    return work / "frames.csv"


def inputs(name, work):
    """Makes the input: the variables, and how the oracle is asked."""
    python = sys.executable
    oracle = [python, ROOT / "tests/end_to_end/examples_oracle.py", name]
    if name == "flights":
        csv = EXAMPLES / "flights/data/flights-2013-01.csv"
        return ({"FLIGHTS_CSV": csv, "OUT_DB": "{out}/flights.db"},
                [python, ROOT / "tests/end_to_end/flights_oracle.py", csv, "{out}/flights.db"])
    if name == "weblog":
        with open(work / "access-log.jsonl", "w") as file:
            run(python, EXAMPLES / "weblog/data/make.py", 1_500, stdout=file)
        return ({"ACCESS_LOG": work / "access-log.jsonl"},
                [*oracle, work / "access-log.jsonl", "{out}/alerts.jsonl", "at-least-once"])
    if name == "orders":
        run(python, EXAMPLES / "orders/data/make.py", work / "shop.db", 20_000)
        return {"SHOP_DB": work / "shop.db", "OUT_DIR": "{out}/enriched-orders"}, [*oracle, work / "shop.db", "{out}/enriched-orders"]
    frames = weather(work)
    return {"FRAMES_CSV": frames, "OUT_DB": "{out}/sensors.db"}, [*oracle, frames, "{out}/sensors.db"]


def round_of(name, ottla, out, variables, kills, draw):
    """One round; gives how many kills came before all was done."""
    env = {**os.environ, **{key: str(value).format(out=out) for key, value in variables.items()}}
    receiver = None
    if name == "weblog":
        receiver = subprocess.Popen([sys.executable, EXAMPLES / "weblog/receiver.py", "0", out / "alerts.jsonl"],
                                    stdout=subprocess.PIPE, text=True)
        env["ALERTS_URL"] = f"http://127.0.0.1:{receiver.stdout.readline().split()[1]}/alerts"
    server, count, is_applied = None, 0, False
    try:
        with open(out / "server.log", "a") as log:
            while True:
                server = Server(ottla, out / "data", log)
                # A kill may come while the pipeline is being applied.
                timer = threading.Timer(draw.uniform(0, LIFE_MAX), lambda at=server: at.process.send_signal(signal.SIGKILL))
                if count < kills:
                    timer.start()
                try:
                    if not is_applied:
                        command = [ottla, "pipeline", "apply", EXAMPLES / name / "pipeline.yaml", "--http", server.http]
                        applied = subprocess.run(command, env=env, capture_output=True, text=True)
                        is_applied = applied.returncode == 0
                        if not is_applied and count >= kills:
                            sys.exit(f"{name} cannot be applied: {applied.stderr}")
                    until = time.monotonic() + PATIENCE
                    while server.process.poll() is None:
                        # What is drained is done with: a kill would come too late.
                        state = server.state(name) if is_applied else {"state": "not applied"}
                        if state["state"] == "drained":
                            return count
                        if state["state"] == "failed":
                            sys.exit(f"{name} has failed: {state['reason']}")
                        if time.monotonic() > until:
                            sys.exit(f"{name} does not drain: {state}")
                        time.sleep(0.01)
                except (OSError, http.client.HTTPException, json.JSONDecodeError):
                    if count >= kills:
                        raise
                server.kill()
                count += 1
    finally:
        if server:
            timer.cancel()
            server.kill()
        if receiver:
            receiver.kill()
            receiver.wait()


def main():
    kills_wanted, seed, ottla = int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3]).resolve()
    names = sys.argv[4:] or ["flights", "weblog", "orders", "sensors"]
    print(f"seed {seed}")
    draw = random.Random(seed)
    for name in names:
        kills, rounds, began = 0, 0, time.monotonic()
        with tempfile.TemporaryDirectory() as work:
            work = pathlib.Path(work)
            variables, oracle = inputs(name, work)
            while kills < kills_wanted:
                out = work / f"round-{rounds}"
                out.mkdir()
                kills += round_of(name, ottla, out, variables, min(KILLS_A_ROUND, kills_wanted - kills), draw)
                checked = subprocess.run([str(word).format(out=out) for word in oracle], capture_output=True, text=True)
                if checked.returncode != 0:
                    kept = pathlib.Path(tempfile.mkdtemp(prefix=f"ottla-{name}-")) / "round"
                    shutil.copytree(out, kept)
                    sys.exit(f"FAILED {name}, round {rounds} of seed {seed}, kept in {kept}: {checked.stdout}{checked.stderr}")
                shutil.rmtree(out)
                rounds += 1
        told = checked.stdout.strip().replace("\n", "; ")
        print(f"{name}: {kills} kills in {rounds} rounds, {time.monotonic() - began:.0f} s; the last: {told}", flush=True)


main()
