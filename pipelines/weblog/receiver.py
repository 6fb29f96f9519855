#!/usr/bin/env python3
"""Takes alerts by HTTP and appends each to a file, one JSON object a line, before it answers.

Usage: receiver.py [PORT [FILE]]      port 9099 and alerts.jsonl; port 0 takes a free one. Says `ready PORT` when it listens.
"""
import http.server
import json
import os
import sys

port = int(sys.argv[1]) if len(sys.argv) > 1 else 9099
path = sys.argv[2] if len(sys.argv) > 2 else "alerts.jsonl"


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            alert = json.loads(body)
        except ValueError:
            self.answer(400)
            return
        with open(path, "a") as file:
            file.write(json.dumps(alert) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Receiver)
print(f"ready {server.server_port}", flush=True)
server.serve_forever()
