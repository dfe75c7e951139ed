"""The page that a child shares with its parent, and whose time counts against whom."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from hwnas.agent.child import Child, Lost, Voice
from hwnas.agent.events import Event, Probe


def told(
    work: Callable[[Voice], None], limit_s: float, store: Callable[[Event], None] = lambda e: None
) -> int:
    """How many events a child said that ended well."""
    child, count = Child(work, limit_s), 0
    try:
        for event in child.events():
            store(event)
            count += 1
    finally:
        child.close()
    return count


def test_what_it_is_at_is_never_seen_half_written() -> None:
    def work(voice: Voice) -> None:
        voice.at(5)
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            voice.at(5)

    child = Child(work, 60.0)
    try:
        while child._item() is None:
            time.sleep(0.001)
        seen = {(child._item(), child._place[1] > 0) for _ in range(300_000)}
    finally:
        child.close()
    assert seen == {(5, True)}


def test_a_slow_store_does_not_count_against_a_child() -> None:
    def work(voice: Voice) -> None:
        for _ in range(3):
            voice.at(0)
            voice.say(Probe(0))

    assert told(work, 0.2, lambda event: time.sleep(0.4)) == 3


def test_a_parent_that_was_stopped_reads_what_was_said_meanwhile() -> None:
    def work(voice: Voice) -> None:
        voice.at(0)
        parent = os.getppid()
        os.kill(parent, signal.SIGSTOP)
        if os.fork() == 0:  # goes on while the other waits for its answer
            time.sleep(0.8)
            os.kill(parent, signal.SIGCONT)
            os._exit(0)
        voice.say(Probe(0))
        os.wait()

    def stopped(voice: Voice) -> None:
        voice.at(0)
        assert told(work, 0.4) == 1
        voice.say(Probe(1))

    # In a process of its own: nobody stops the tests.
    assert told(stopped, 60.0) == 1


def test_a_child_that_says_nothing_is_killed() -> None:
    def work(voice: Voice) -> None:
        voice.at(3)
        time.sleep(60)

    with pytest.raises(Lost, match=r"time limit of 0\.2 s") as caught:
        told(work, 0.2)
    assert caught.value.item == 3
