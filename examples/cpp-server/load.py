"""Ask hwnas-server from many connections, and hold every answer against Python's, bit for bit.

python load.py BUNDLE PORT [--clients 16] [--seconds 3]
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.runtime import Switcher
from hwnas.runtime.inputs import random_inputs


class Client:
    """One connection to hwnas-server. Belongs to one thread."""

    def __init__(self, port: int, answer_bytes: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._socket.makefile("rwb")
        self._answer_bytes = answer_bytes

    def command(self, line: str, body: bytes = b"") -> str:
        """Send a line; returns what stands after ``ok``."""
        self._stream.write(line.encode() + b"\n" + body)
        self._stream.flush()
        state, _, text = self._stream.readline().decode().rstrip("\n").partition(" ")
        if state != "ok":
            raise ConnectionError(text or "the server closed the connection")
        return text

    def run(self, inputs: bytes) -> tuple[str, bytes]:
        """Run the current subnet; returns its name and the outputs' bytes."""
        name = self.command("run", inputs)
        return name, self._stream.read(self._answer_bytes)

    def stats(self) -> Any:
        """How long each subnet takes (ms) and how many requests it served."""
        return json.loads(self.command("stats"))

    def close(self) -> None:
        """End the connection."""
        self._stream.close()
        self._socket.close()


class Expected:
    """An input, and what each subnet of ``bundle`` that is served makes of it, as bytes."""

    def __init__(self, bundle: Path) -> None:
        with Switcher(bundle) as switcher:
            takes, gives = (f(switcher.current) for f in (switcher.inputs_of, switcher.outputs_of))
            feeds = random_inputs(takes, 0)
            self.inputs = b"".join(feeds[spec.name].tobytes() for spec in takes)
            self.outputs = {}
            for name in switcher.subnets:
                if (switcher.inputs_of(name), switcher.outputs_of(name)) != (takes, gives):
                    continue  # the server answers in one shape
                made = switcher.run(feeds, subnet=name)
                self.outputs[name] = b"".join(made[s.name].tobytes() for s in gives)
        self.output_bytes = len(next(iter(self.outputs.values())))


class Phase:
    """A load of ``clients`` connections for ``seconds``; each waits ``pause`` between requests."""

    def __init__(self, clients: int, seconds: float, pause: float) -> None:
        self.clients, self.seconds, self.pause = clients, seconds, pause
        self.served: Counter[str] = Counter()
        self.ms: list[float] = []
        self.wrong = 0

    def run(self, port: int, expected: Expected) -> None:
        """Ask until the time is over, and count."""
        threads = [
            threading.Thread(target=self._ask, args=(port, expected)) for _ in range(self.clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _ask(self, port: int, expected: Expected) -> None:
        client = Client(port, expected.output_bytes)
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            begin = time.perf_counter()
            name, outputs = client.run(expected.inputs)
            self.ms.append((time.perf_counter() - begin) * 1e3)
            self.served[name] += 1
            self.wrong += outputs != expected.outputs[name]
            time.sleep(self.pause)
        client.close()

    def report(self) -> None:
        """Print which subnets answered, and how fast."""
        shares = ", ".join(f"{n} {k / len(self.ms):.0%}" for n, k in self.served.most_common(4))
        p50, p95 = np.percentile(self.ms, [50, 95])
        print(
            f"{self.clients:3} clients: {len(self.ms):6} answers, {self.wrong} wrong, "
            f"p50 {p50:.2f} ms, p95 {p95:.2f} ms: {shares}"
        )


def main() -> int:
    """Load lightly, heavily, and lightly again."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3)
    asked = parser.parse_args()
    expected = Expected(asked.bundle)
    wrong = 0
    for clients, pause in ((1, 0.02), (asked.clients, 0.0), (1, 0.02)):
        phase = Phase(clients, asked.seconds, pause)
        phase.run(asked.port, expected)
        phase.report()
        wrong += phase.wrong
    print("every answer is right" if not wrong else f"{wrong} answers are wrong")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
