"""CPU time of pipelines over records of 100 bytes. Each part is what a pipeline with it takes more than one without it, on an empty
server each time; the server's own share (produce, sync, fetch) is in it.

Usage: pipelines.py OTTLA RECORDS RUNS. Fails below 500,000 records a second of CPU time.
"""
import hashlib
import os
import pathlib
import resource
import subprocess
import sys
import tempfile

WANTED = 500_000
PLUGIN = pathlib.Path(__file__).resolve().parents[2] / "plugins/examples/split-lines/split-lines.wasm"
SOURCE = """version: ottla/v1
name: bench
schemas: {{ line: {{ line: string }} }}
topics: {{ lines: {{ schema: line, partitions: 2 }} }}
sources:
  lines_csv:
    type: file
    config: {{ path: "{work}/lines.csv", format: csv }}
    to: {{ topic: lines, format: csv, schema: line }}
"""
SINK = """sinks:
  to_file: {{ from: lines, type: file, config: {{ path: "{work}/out.jsonl" }} }}
"""
STAGE = """plugins: {{ split: {{ path: "{plugin}", sha256: {sha256} }} }}
transforms:
  parts: {{ from: [lines], wasm: {{ plugin: split }} }}
"""


def cpu_seconds(ottla, text, work, records):
    for left in work.glob("out.jsonl*"):
        left.unlink()
    sha256 = hashlib.sha256(PLUGIN.read_bytes()).hexdigest()
    (work / "pipeline.yaml").write_text(text.format(work=work, plugin=PLUGIN, sha256=sha256))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run([ottla, "run", work / "pipeline.yaml"], capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    if ran.returncode != 0:
        sys.exit(f"{ran.stdout}{ran.stderr}")
    if "sinks:" in text and (found := (work / "out.jsonl").read_bytes().count(b"\n")) != records:
        sys.exit(f"the sink has written {found} records instead of {records}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    ottla, records, runs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        with open(work / "lines.csv", "w") as file:
            file.write("line\n")
            file.writelines(f"{number:010d}{'x' * 90}\n" for number in range(records))
        least = {name: min(cpu_seconds(ottla, text, work, records) for _ in range(runs))
                 for name, text in [("source", SOURCE), ("sink", SOURCE + SINK), ("stage", SOURCE + STAGE)]}
        parts = {"file to topic": least["source"], "topic to file": least["sink"] - least["source"],
                 "topic through a WebAssembly stage to a topic": least["stage"] - least["source"]}
        for name, seconds in parts.items():
            rate = records / seconds
            failed |= rate < WANTED
            print(f"{name}: {seconds:.2f} s of CPU time, {rate:,.0f} records/s/core ({WANTED:,} wanted)")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
