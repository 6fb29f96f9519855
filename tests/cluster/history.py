"""The file of a run: one event a line, in JSON, as checker.py explains them."""

import json
import logging
import threading
import time

BEGIN = time.monotonic()

# For clients, whose errors are recorded: what they say besides goes nowhere.
SILENCE = logging.getLogger("clients")
SILENCE.addHandler(logging.NullHandler())
SILENCE.propagate = False


def now():
    """Seconds since this run's beginning, by a clock that only goes forward."""
    return round(time.monotonic() - BEGIN, 4)


class Recorder:
    def __init__(self, path):
        self.file, self.lock = open(path, "w"), threading.Lock()

    def add(self, op, **fields):
        line = json.dumps({"op": op, **fields}, separators=(",", ":"))
        with self.lock:
            # A client that is stuck may come back when all is over.
            if not self.file.closed:
                self.file.write(line + "\n")

    def close(self):
        with self.lock:
            self.file.close()


def load(path):
    with open(path) as file:
        return [json.loads(line) for line in file]
