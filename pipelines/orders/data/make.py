#!/usr/bin/env python3
"""Makes the SQLite database of a small shop: customers, and the orders that they placed. The same arguments give the same rows.

Usage: make.py shop.db [ORDERS [SEED]]
"""
import datetime
import os
import random
import sqlite3
import sys

path = sys.argv[1]
count = int(sys.argv[2]) if len(sys.argv) > 2 else 2_500
draw = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 11)
if os.path.exists(path):
    os.remove(path)
database = sqlite3.connect(path)
database.executescript("""
    CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, country TEXT NOT NULL, tier TEXT);
    CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER, placed_at TEXT NOT NULL, item TEXT NOT NULL,
                         quantity INTEGER NOT NULL, price_cents INTEGER NOT NULL);
""")
customers = max(10, count // 12)
firsts = "Ada Bea Cleo Dora Emil Finn Gus Hana Ivo Jana Kaj Lea Mia Nils Olga Per".split()
for number in range(1, customers + 1):
    tier = draw.choices(["gold", "silver", None], [1, 3, 6])[0]
    row = (number, f"{draw.choice(firsts)} {number}", draw.choice(["AT", "DE", "DK", "FR", "PL", "SE"]), tier)
    database.execute("INSERT INTO customers VALUES (?, ?, ?, ?)", row)
at = datetime.datetime(2026, 1, 1)
for number in range(1, count + 1):
    at += datetime.timedelta(seconds=draw.randrange(1, 2_000))
    # One in fifty was placed by a guest, and one in a hundred by somebody who has been deleted since.
    customer = draw.randrange(1, customers + 1)
    customer = None if number % 50 == 0 else customers + 100 if number % 100 == 33 else customer
    row = (number, customer, at.strftime("%Y-%m-%dT%H:%M:%SZ"), draw.choice(["lamp", "chair", "desk", "shelf", "rug"]),
           draw.randrange(1, 6), draw.randrange(500, 60_000))
    database.execute("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)", row)
database.commit()
database.execute("VACUUM")
database.close()
