"""The board's link: carries packets between two TUN devices, late, not all of them, or none.

    python link.py DEVICE ADDRESS PEER

makes DEVICE with ADDRESS here and obeys lines on stdin. Each is answered by one line, ``ok``
unless said otherwise:

    attach PID     make ``eth0`` with PEER in the network name space of that process
    detach         remove it, without which the name space's network lives on
    delay SECONDS  carry each packet this much later, in each direction
    loss SHARE     drop this share of the packets, in each direction
    cut | mend     drop every packet | carry them again
    cut-after N    carry N more bytes, then cut
    carried        the answer is how many bytes have been carried so far

The kernel may have no ``sch_netem``, which would do the same.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import math
import os
import random
import select
import struct
import subprocess
import sys
import time
from pathlib import Path

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI, _CLONE_NEWNET = 0x400454CA, 0x1, 0x1000, 0x40000000


def _open_tun(name: str, address: str, peer: str) -> int:
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    for words in (
        ("addr", "add", address, "peer", peer, "dev", name),
        ("link", "set", name, "up"),
        ("link", "set", "lo", "up"),
    ):
        subprocess.run(["ip", *words], check=True)
    return tun


def _enter_network(path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open() as space:
        if libc.setns(space.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {path}")


class Link:
    """Two TUN devices and what is on its way between them."""

    def __init__(self, device: str, address: str, peer: str) -> None:
        self.address, self.peer = address, peer
        self.here = _open_tun(device, address, peer)
        self.there = -1
        self.delay, self.loss, self.whole = 0.0, 0.0, True
        self.carried, self.most = 0, math.inf
        self._random = random.Random(1)
        self._underway: list[tuple[float, int, int, bytes]] = []
        self._count = 0

    def obey(self, line: str) -> object:
        """Do what ``line`` says; returns the answer."""
        match line.split():
            case ["attach", pid]:
                self._unplug()
                _enter_network(Path("/proc", pid, "ns/net"))
                try:
                    self.there = _open_tun("eth0", self.peer, self.address)
                finally:
                    _enter_network(Path("/proc", str(os.getppid()), "ns/net"))
            case ["detach"]:
                self._unplug()
            case ["delay", seconds]:
                self.delay = float(seconds)
            case ["loss", share]:
                self.loss = float(share)
            case [("cut" | "mend") as word]:
                self.whole, self.most = word == "mend", math.inf
                self._underway.clear()
            case ["cut-after", count]:
                self.most = self.carried + int(count)
            case ["carried"]:
                return self.carried
            case _:
                raise ValueError(f"no such order: {line!r}")
        return "ok"

    def take(self, source: int) -> None:
        """Take the packets that wait at ``source``."""
        other = self.there if source == self.here else self.here
        for _ in range(64):
            try:
                packet = os.read(source, 65536)
            except BlockingIOError:
                return
            except OSError:  # its name space has ended
                self._unplug()
                return
            if self.carried >= self.most:
                self.whole = False
            if not self.whole or other < 0 or self._random.random() < self.loss:
                continue
            self.carried += len(packet)
            if not self.delay:
                self._send(other, packet)
                continue
            self._count += 1
            due = time.monotonic() + self.delay
            heapq.heappush(self._underway, (due, self._count, other, packet))

    def deliver(self) -> float | None:
        """Send what is due; returns the seconds to the next, ``None`` if nothing is on its way."""
        while self._underway:
            left = self._underway[0][0] - time.monotonic()
            if left > 0:
                return left
            _, _, to, packet = heapq.heappop(self._underway)
            self._send(to, packet)
        return None

    def _send(self, to: int, packet: bytes) -> None:
        try:
            os.write(to, packet)
        except BlockingIOError:
            pass  # a full queue drops, as any link does
        except OSError:
            self._unplug()

    def _unplug(self) -> None:
        if self.there >= 0:
            os.close(self.there)
            self.there = -1


def main() -> None:
    link = Link(*sys.argv[1:4])
    print("ok", flush=True)
    while True:
        wait = link.deliver()
        ends = [end for end in (link.here, link.there) if end >= 0]
        ready, _, _ = select.select([*ends, 0], [], [], wait)
        for end in ready:
            if end:
                link.take(end)
                continue
            line = sys.stdin.readline()
            if not line:
                return
            print(link.obey(line), flush=True)


if __name__ == "__main__":
    main()
