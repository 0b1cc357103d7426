"""Stands in for the engine's child: does what the engine's alias says, told by the same order."""

import json
import os
import signal
import sys
from pathlib import Path

order = json.loads(sys.stdin.readline())
script = order["spec"]["alias"]
record = Path(order["spec"]["model_path"]).with_suffix(".starts")
with record.open("a") as starts:
    starts.write(json.dumps({"argv": sys.argv, "env": dict(os.environ), **order}) + "\n")
started = len(record.read_text().splitlines())

if script == "broken" or (script == "late" and started < 3):
    sys.stderr.write(f"cannot load {order['spec']['model_path']}\n")
    sys.exit(1)
if script == "hopeless":
    sys.stderr.write("no engine here\n")
    sys.exit(78)
sys.stderr.write("loading\n")
sys.stderr.flush()
if script != "silent":
    sys.stdout.write("READY\n")
    sys.stdout.flush()
if script == "fragile" and started < 4:
    os.kill(os.getpid(), signal.SIGSEGV)
if script == "stubborn":
    while True:
        signal.pause()
sys.stdin.read()
