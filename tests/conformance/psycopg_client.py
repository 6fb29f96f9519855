"""A driver that prepares statements: psycopg binds parameters on the server and takes results in text and in binary.

Usage: psycopg_client.py PG_HOST:PORT KAFKA_HOST:PORT OTTLA_BINARY
"""

import datetime
import decimal
import os
import subprocess
import sys

import psycopg

pg, kafka, ottla = sys.argv[1:]
host, port = pg.rsplit(":", 1)
name = f"psycopg_{os.getpid()}"
rows = [
    '{"k":"it\'s","v":1,"f":0.5,"d":"1234567.25","b":true,"at":"2013-01-01T00:00:00.5Z"}',
    '{"k":"b","v":-9007199254740993,"f":null,"d":"-0.01","b":null,"at":null}',
]
at = datetime.datetime(2013, 1, 1, 0, 0, 0, 500_000, tzinfo=datetime.timezone.utc)
expected = [
    ("it's", 1, 0.5, decimal.Decimal("1234567.25"), True, at),
    ("b", -9007199254740993, None, decimal.Decimal("-0.01"), None, None),
]

with psycopg.connect(host=host, port=port, user="anybody", dbname="ottla", connect_timeout=30) as connection:
    connection.execute(
        f"CREATE STREAM {name} (k STRING, v INT, f DOUBLE, d DECIMAL(10, 2), b BOOLEAN, at TIMESTAMP)"
    )
    connection.commit()
    subprocess.run(
        [ottla, "produce", name, "--bootstrap-server", kafka], input="\n".join(rows), text=True, check=True
    )
    for binary in (False, True):
        with connection.cursor(binary=binary) as cursor:
            cursor.execute(f"SELECT k, v, f, d, b, at FROM {name} ORDER BY v DESC")
            assert cursor.fetchall() == expected, binary
            assert [column.name for column in cursor.description] == ["k", "v", "f", "d", "b", "at"]
            cursor.execute(f"SELECT v FROM {name} WHERE k = %s AND v = %s AND b = %s", ("it's", 1, True))
            assert cursor.fetchall() == [(1,)], binary
            cursor.execute(f"SELECT COUNT(*) FROM {name} WHERE f > %s", (0.25,), prepare=True)
            assert cursor.fetchall() == [(1,)], binary
            cursor.execute(f"SELECT COUNT(*) FROM {name} WHERE k = %s", ("x' OR 'a' = 'a",))
            assert cursor.fetchall() == [(0,)], binary
            cursor.execute("SHOW STREAMS")
            assert (name, name, "json", "") in cursor.fetchall()
    try:
        connection.execute(f"SELECT nothing FROM {name}")
        raise AssertionError("a wrong statement was run")
    except psycopg.errors.SyntaxError as error:
        assert "nothing" in str(error), error
    connection.rollback()
    connection.execute(f"DROP STREAM {name}")
