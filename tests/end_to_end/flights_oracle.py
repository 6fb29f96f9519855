"""Compares hourly_departures in a database with a batch query that SQLite makes over the same CSV.

Usage: flights_oracle.py CSV DATABASE. Exits 1 and shows the first differences when they are not equal row for row.
"""

import csv
import sqlite3
import sys

COLUMNS = "origin, window_start, window_end, flights, cancelled, delayed, avg_dep_delay, max_dep_delay"


def number(text):
    return None if text == "NA" else int(text)


def expected(path):
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE flights (origin TEXT, time_hour TEXT, dep_time INT, dep_delay INT)")
    with open(path, newline="") as file:
        rows = ((r["origin"], r["time_hour"], number(r["dep_time"]), number(r["dep_delay"])) for r in csv.DictReader(file))
        database.executemany("INSERT INTO flights VALUES (?, ?, ?, ?)", rows)
    return database.execute(
        """SELECT origin, strftime('%Y-%m-%dT%H:00:00Z', time_hour) AS start,
                  strftime('%Y-%m-%dT%H:00:00Z', time_hour, '+1 hour'), COUNT(*),
                  COUNT(*) FILTER (WHERE dep_time IS NULL), COUNT(*) FILTER (WHERE dep_delay > 15),
                  AVG(dep_delay), MAX(dep_delay)
           FROM flights GROUP BY origin, start ORDER BY origin, start"""
    ).fetchall()


def main():
    path, database = sys.argv[1:]
    want = expected(path)
    got = sqlite3.connect(database).execute(
        f"SELECT {COLUMNS} FROM hourly_departures ORDER BY origin, window_start"
    ).fetchall()
    if want == got:
        print(f"{len(want)} rows are equal")
        return 0
    print(f"expected {len(want)} rows, found {len(got)}")
    missing, extra = sorted(set(want) - set(got), key=str), sorted(set(got) - set(want), key=str)
    for sign, rows in (("-", missing), ("+", extra)):
        for row in rows[:5]:
            print(sign, row)
    return 1


sys.exit(main())
