"""A child for test_child.py: echoes messages, and misbehaves when told to."""

import os
import subprocess
import sys
import time

from adamms.engines.child import parent_connection

connection = parent_connection()
while (message := connection.recv()) is not None:
    match message:
        case "exit":
            print("cannot go on", flush=True)
            sys.exit(3)
        case "worker fails":
            print("(Worker pid=7) ERROR [executor.py:750] AssertionError: 3 is not divisible by 2")
            print("a line of a traceback\n" * 100, "RuntimeError: see above", sep="", flush=True)
            sys.exit(4)
        case "sleep":
            time.sleep(60)
        case "spawn":
            other = subprocess.Popen(["sleep", "60"])
            connection.send(other.pid)
        case "pid":
            connection.send(os.getpid())
        case "speak":
            print("something is said", flush=True)
            connection.send(None)
        case _:
            connection.send(message)
