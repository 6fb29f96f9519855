"""What the example pipelines must have written, computed from their input by other means: SQLite's SQL, pyarrow's reader and
plain Python.

Usage: examples_oracle.py weblog LOG ALERTS [at-least-once] | orders SHOP_DB FOLDER | sensors FRAMES_CSV DB
"""
import collections
import csv
import datetime
import json
import pathlib
import sqlite3
import sys

TIMESTAMP = "%Y-%m-%dT%H:%M:%S.%f"


def fail_unless_equal(found, expected, what):
    found, expected = sorted(found), sorted(expected)
    if found != expected:
        missing = [row for row in expected if row not in found]
        surplus = [row for row in found if row not in expected]
        sys.exit(f"{what}: {len(found)} rows, expected {len(expected)}; missing {missing[:3]}, not expected {surplus[:3]}")
    if not expected:
        sys.exit(f"{what}: nothing was expected, so nothing was tested")
    print(f"{what}: {len(found)} rows, as a batch computes them")


def instant(text):
    """Milliseconds since 1970."""
    text = text.rstrip("Z")
    at = datetime.datetime.strptime(text if "." in text else text + ".0", TIMESTAMP)
    return round((at - datetime.datetime(1970, 1, 1)) / datetime.timedelta(milliseconds=1))


def weblog(log, alerts, at_least_once):
    """Sessions end after 20 minutes without a request; those with 10 denied ones are alerts."""
    gap = 20 * 60 * 1000
    by_client = collections.defaultdict(list)
    with open(log) as file:
        for row in map(json.loads, file):
            by_client[row["client"]].append((instant(row["ts"]), row["status"]))
    expected = []
    for client, requests in by_client.items():
        sessions = []
        for at, status in sorted(requests):
            if not sessions or at >= sessions[-1][1] + gap:
                sessions.append([at, at, 0, 0])
            session = sessions[-1]
            session[1] = at
            session[2] += 1
            session[3] += status == 401
        expected += [(client, first, last + gap, count, denied) for first, last, count, denied in sessions if denied >= 10]
    with open(alerts) as file:
        rows = [json.loads(line) for line in file]
    found = [(row["client"], instant(row["window_start"]), instant(row["window_end"]), row["requests"], row["denied"])
             for row in rows]
    if at_least_once:
        # What the receiver has to do: a client has one session that begins at a time.
        by_key = {}
        for row in found:
            if by_key.setdefault(row[:2], row) != row:
                sys.exit(f"two alerts of one session differ: {by_key[row[:2]]} and {row}")
        print(f"{len(found) - len(by_key)} of {len(found)} alerts came again")
        found = list(by_key.values())
    fail_unless_equal(found, expected, "alerts")


def orders(shop, folder):
    """SQLite's own join of the tables; integer division rounds down alike, since nothing is negative."""
    import pyarrow.parquet

    expected = sqlite3.connect(shop).execute("""
        SELECT o.id, o.placed_at, c.id, c.name, c.country, o.item, o.quantity, o.quantity * o.price_cents,
               o.quantity * o.price_cents * CASE c.tier WHEN 'gold' THEN 10 WHEN 'silver' THEN 5 ELSE 0 END / 100
        FROM orders AS o JOIN customers AS c ON o.customer_id = c.id""").fetchall()
    expected = [(row[0], instant(row[1]), *row[2:]) for row in expected]
    columns = "order_id placed_at customer_id customer country item quantity gross_cents discount_cents".split()
    found = []
    for file in sorted(pathlib.Path(folder).rglob("*.parquet")):
        for row in pyarrow.parquet.read_table(file, partitioning=None).to_pylist():
            at = row["placed_at"]
            at = at if at.tzinfo else at.replace(tzinfo=datetime.timezone.utc)
            row["placed_at"] = round(at.timestamp() * 1000)
            found.append(tuple(row[column] for column in columns))
    fail_unless_equal(found, expected, "enriched orders")


def sensors(frames, database):
    """Each window of six hours, one begins each hour, in which the temperature swung by 8 °C."""
    hour = 3_600
    windows = collections.defaultdict(list)
    damaged = 0
    with open(frames, newline="") as file:
        for row in csv.DictReader(file):
            frame = bytes.fromhex(row["frame"])
            crc = 0
            for byte in frame[:-1]:
                crc ^= byte
                for _ in range(8):
                    crc = (crc << 1) ^ 0x107 if crc & 0x80 else crc << 1
            if crc != frame[-1]:
                damaged += 1
                continue
            at = int.from_bytes(frame[1:5], "big")
            celsius = int.from_bytes(frame[5:7], "big", signed=True) / 100
            for begin in range(at // hour * hour - 5 * hour, at // hour * hour + 1, hour):
                windows[row["station"], begin].append(celsius)
    if damaged == 0:
        sys.exit("no frame is damaged, so nothing shows what becomes of those")
    expected = [(station, begin * 1000, (begin + 6 * hour) * 1000, len(all_of), min(all_of), max(all_of),
                 max(all_of) - min(all_of))
                for (station, begin), all_of in windows.items() if max(all_of) - min(all_of) >= 8]
    rows = sqlite3.connect(database).execute(
        "SELECT station, window_start, window_end, readings, coldest, warmest, swing FROM swings").fetchall()
    found = [(row[0], instant(row[1]), instant(row[2]), *row[3:]) for row in rows]
    fail_unless_equal(found, expected, "swings")


name, *arguments = sys.argv[1:]
if name == "weblog":
    weblog(arguments[0], arguments[1], arguments[2:] == ["at-least-once"])
else:
    {"orders": orders, "sensors": sensors}[name](*arguments)
