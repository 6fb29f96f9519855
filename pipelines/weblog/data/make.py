#!/usr/bin/env python3
"""Writes the access log of a small shop as JSON lines, in the order in which a web server would: by the time a request
ended, so that the time it began is up to some seconds out of order. The same arguments give the same file.

Usage: make.py [VISITORS [SEED]] > access-log.jsonl
"""
import datetime
import json
import random
import sys

visitors = int(sys.argv[1]) if len(sys.argv) > 1 else 220
draw = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 7)
begin = datetime.datetime(2026, 3, 2, tzinfo=datetime.timezone.utc)
pages = ["/", "/search", "/cart", "/login", "/help"] + [f"/product/{number}" for number in range(40)]
requests = []


def request(visitor, at, method, path, status):
    seconds = round(draw.expovariate(12) + 0.002, 3)
    row = {"ts": at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z", "client": visitor, "method": method, "path": path,
           "status": status, "bytes": draw.randrange(200, 40_000), "seconds": min(seconds, 4.0)}
    requests.append((at.timestamp() + row["seconds"], len(requests), row))


for number in range(visitors):
    visitor = f"198.51.{100 + number // 250}.{1 + number % 250}"
    # One in thirty guesses passwords; the others look around, some days more than once.
    is_guessing = number % 30 == 11
    at = begin + datetime.timedelta(seconds=draw.uniform(0, 86_400))
    for _ in range(draw.choice([1, 1, 2, 3])):
        for _ in range(draw.randrange(25, 60) if is_guessing else draw.randrange(1, 14)):
            if is_guessing:
                request(visitor, at, "POST", "/login", 200 if draw.random() < 0.02 else 401)
                at += datetime.timedelta(seconds=draw.uniform(0.5, 8))
            else:
                status = draw.choices([200, 304, 404, 401], [80, 12, 6, 2])[0]
                request(visitor, at, "GET", draw.choice(pages), status)
                at += datetime.timedelta(seconds=draw.expovariate(1 / 70))
        at += datetime.timedelta(minutes=draw.uniform(20, 600))
for _, _, row in sorted(requests, key=lambda one: one[:2]):
    print(json.dumps(row, separators=(",", ":")))
