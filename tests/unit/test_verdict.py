"""Each reason for which a measurement is not to be believed, on made-up turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hwnas.agent.settings import Settings
from hwnas.profile.record import Record, Round, Turn
from hwnas.profile.samples import statistics
from hwnas.profile.verdict import judge
from tests.support.tables import record

MS = 1_000_000
SETTINGS = Settings()
ROUNDS = 20


def turns(
    change: Callable[[int], dict[str, Any]] = lambda i: {}, sittings: int = 2
) -> tuple[Turn, ...]:
    """Calm turns of 1 ms, alike but for a percent of noise; ``change`` by the number of each."""
    found = []
    for i in range(ROUNDS * sittings):
        ns = MS + (i % 5) * 1000
        turn = Turn(i // ROUNDS, i % ROUNDS, ns, (ns, ns), 2 * ns, 2 * ns, 0)
        found.append(replace(turn, **change(i)))
    return tuple(found)


def rounds(
    change: Callable[[int], dict[str, Any]] = lambda i: {}, sittings: int = 2
) -> tuple[Round, ...]:
    return tuple(
        replace(Round(i // ROUNDS, i % ROUNDS, (4.0, 4.01), 0, {}), **change(i))
        for i in range(ROUNDS * sittings)
    )


def made(**changes: Any) -> Record:
    return record("key", **{"turns": turns(), "rounds": rounds(), **changes})


def judged(**changes: Any) -> tuple[str, tuple[str, ...]]:
    found = judge(made(**changes), SETTINGS)
    return found.verdict, found.reasons


def test_a_good_one_is_ok() -> None:
    assert judged() == ("ok", ())


class TestOutputs:
    def test_wrong_ones_are_invalid_and_say_by_how_much(self) -> None:
        verdict, [reason] = judged(outputs_ok=False, error=0.0123)
        assert verdict == "invalid"
        assert reason.startswith("outputs are off by 0.012 of their size")

    def test_those_that_are_not_finite(self) -> None:
        verdict, [reason] = judged(outputs_ok=False, error=None)
        assert verdict == "invalid" and "not finite" in reason

    def test_nobody_said_that_they_are_right(self) -> None:
        assert judged(outputs_ok=None, error=None) == ("unknown", ("outputs were not compared",))

    def test_a_flag_says_more_than_unknown(self) -> None:
        verdict, reasons = judged(outputs_ok=None, stopped_by="time")
        assert verdict == "flag" and len(reasons) == 2


class TestQuota:
    """A stopped group: its wall time is longer, its clock is what it was."""

    def test_in_most_rounds_is_invalid_and_not_called_a_lowered_clock(self) -> None:
        slow = turns(lambda i: {"wall": 20 * MS, "ns": (10 * MS, 10 * MS)} if i % 3 else {})
        stopped = rounds(lambda i: {"throttled": 2 if i % 3 else 0})
        verdict, reasons = judged(turns=slow, rounds=stopped)
        assert verdict == "invalid"
        assert reasons[0] == "the CPU quota of its control group stopped it in 26 of 40 rounds"
        assert not any("clock" in reason for reason in reasons)

    def test_in_some_rounds_is_a_flag(self) -> None:
        verdict, reasons = judged(rounds=rounds(lambda i: {"throttled": int(i == 3)}))
        assert verdict == "flag"
        assert reasons == ("the CPU quota stopped it in 1 of 40 turns",)

    def test_not_told_is_no_reason(self) -> None:
        assert judged(rounds=rounds(lambda i: {"throttled": None})) == ("ok", ())


class TestClock:
    def test_lowered_in_most_rounds_is_invalid(self) -> None:
        # Full speed only for the first rounds, as on a board that gets hot.
        lowered = rounds(lambda i: {"canary": (4.0, 4.0) if i < 8 else (6.0, 6.0)}, 1)
        verdict, reasons = judged(turns=turns(sittings=1), rounds=lowered)
        assert verdict == "invalid"
        assert reasons[0] == "the clock was lowered by about 50% in 12 of 20 rounds"

    def test_a_lower_one_in_a_third_of_the_rounds_is_a_flag(self) -> None:
        lowered = rounds(lambda i: {"canary": (4.0, 6.0 if i % 3 == 0 else 4.0)})
        verdict, [reason] = judged(rounds=lowered)
        assert verdict == "flag"
        assert reason == "the clock was lower in 14 of 40 turns, which are left out"

    def test_a_flutter_is_no_reason(self) -> None:
        flutter = rounds(lambda i: {"canary": (4.0 + 0.1 * (i % 2), 4.05)})
        assert judged(rounds=flutter) == ("ok", ())

    def test_a_sitting_on_another_clock_than_the_other(self) -> None:
        other = rounds(lambda i: {"canary": (4.0, 4.0) if i < ROUNDS else (8.0, 8.0)}, 3)
        verdict, reasons = judged(turns=turns(sittings=3), rounds=other)
        assert verdict == "invalid" and "in 40 of 60 rounds" in reasons[0]


class TestWaiting:
    def test_in_every_turn_is_invalid(self) -> None:
        waited = turns(lambda i: {"cpu": MS})
        verdict, reasons = judged(turns=waited)
        assert verdict == "invalid"
        assert reasons[0] == "the system let it wait for 50% of the time, in every turn"

    def test_with_a_single_turn_that_did_not_is_no_better(self) -> None:
        waited = turns(lambda i: {} if i == 7 else {"cpu": MS})
        verdict, reasons = judged(turns=waited)
        assert verdict == "invalid"
        assert reasons[0] == "the system let it wait for 49% of the time, in 39 of 40 turns"

    def test_in_a_quarter_of_the_turns_is_a_flag_and_left_out(self) -> None:
        waited = turns(
            lambda i: {"cpu": MS, "wall": 9 * MS, "ns": (5 * MS, 5 * MS)} if i % 4 == 0 else {}
        )
        verdict, [reason] = judged(turns=waited)
        assert verdict == "flag"
        assert reason == "the system let it wait in 10 of 40 turns, which are left out"
        assert statistics(waited, rounds()).p50_ms == pytest.approx(1.0, rel=0.01)

    def test_cannot_be_told_of_several_threads(self) -> None:
        waited = made(turns=turns(lambda i: {"cpu": MS}))
        assert judge(waited, Settings(threads=2)).verdict == "ok"


class TestCertainty:
    @pytest.mark.parametrize("by", ["max_rounds", "time"])
    def test_not_converged(self, by: str) -> None:
        verdict, [reason] = judged(stopped_by=by)
        assert verdict == "flag"
        assert reason == f"the median is not known to 2.0%: ended by {by}"

    def test_warm_up_that_never_ended(self) -> None:
        verdict, [reason] = judged(warmup_stopped_by="time")
        assert verdict == "flag" and "still getting faster" in reason

    def test_sittings_that_differ(self) -> None:
        apart = turns(lambda i: {"ns": (MS, MS) if i < ROUNDS else (int(1.1 * MS),) * 2})
        verdict, [reason] = judged(turns=apart)
        assert verdict == "flag" and reason == "its sittings differ by 9.5%"

    def test_sittings_that_differ_as_weights_happen_to_lie(self) -> None:
        apart = turns(lambda i: {"ns": (MS, MS) if i < ROUNDS else (int(1.03 * MS),) * 2})
        assert judged(turns=apart) == ("ok", ())

    def test_outliers(self) -> None:
        odd = turns(lambda i: {"ns": (3 * MS, 3 * MS)} if i % 4 == 1 else {})
        verdict, [reason] = judged(turns=odd)
        assert verdict == "flag" and "in 10 of 40 turns" in reason


class TestReadings:
    def test_too_warm(self) -> None:
        warm = made(rounds=rounds(lambda i: {"readings": {"temperature_c": 50.0 + i}}))
        found = judge(warm, SETTINGS, 80.0)
        assert (found.verdict, found.reasons) == ("flag", ("it was 89 C warm, more than 80",))
        assert judge(warm, SETTINGS, 90.0).verdict == judge(warm, SETTINGS).verdict == "ok"

    def test_throttled_by_the_firmware(self) -> None:
        # What the reader of a Raspberry Pi's firmware says: its word as a number.
        words = {5: 0x50005, 6: 0x50000}
        hot = rounds(lambda i: {"readings": {"rpi_throttled": float(words.get(i, 0))}})
        verdict, [reason] = judged(rounds=hot)
        assert verdict == "flag" and "firmware" in reason
        assert reason.endswith(": under-voltage, throttled")

    def test_what_the_firmware_did_before_is_no_reason(self) -> None:
        before = rounds(lambda i: {"readings": {"rpi_throttled": float(0xF0000)}})
        assert judged(rounds=before) == ("ok", ())


def test_all_reasons_are_told_the_worst_first() -> None:
    verdict, reasons = judged(
        outputs_ok=False, error=0.5, stopped_by="time", rounds=rounds(lambda i: {"throttled": 1})
    )
    assert verdict == "invalid"
    assert [reason.split()[0] for reason in reasons] == ["outputs", "the", "the"]


def test_what_was_measured_is_kept_as_it_was() -> None:
    before = made(outputs_ok=False)
    after = judge(before, SETTINGS)
    assert replace(after, verdict=before.verdict, reasons=before.reasons) == before
