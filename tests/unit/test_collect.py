"""From events to records: only what an agent may say, in the order in which it may say it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.agent.events import (
    AgentError,
    Described,
    End,
    Energy,
    Event,
    ItemDone,
    ItemFailed,
    Loaded,
    Probe,
    Round,
    Sat,
    Sit,
    Start,
    Stopped,
    Turn,
    Warm,
)
from hwnas.agent.job import Document, Item, StoredFile
from hwnas.agent.settings import Settings
from hwnas.errors import ProfileError
from hwnas.profile.collect import Collector
from hwnas.profile.record import Record

NONE = StoredFile("0" * 64, 0)
DOCUMENT = Document(
    "0.2.0",
    False,
    "null",
    Settings(),
    {},
    tuple(Item(f"key {i}", "block", f"label {i}", NONE, (), ()) for i in range(3)),
)
START = Start(1, "0" * 64, "python", "0.2.0", "2026-01-01T00:00:00Z", {"cpu": "x"})


def loaded(item: int) -> list[Event]:
    return [Probe(item), Loaded(item, 100, 10, 1000, 1e-7, True)]


def sitting(number: int, *items: int, ns: int = 1000, whole: bool = True) -> list[Event]:
    """Seven rounds."""
    found: list[Event] = [Sit(number, items)]
    found += [Warm(number, item, 10, "steady") for item in items]
    for index in range(7):
        turns = tuple(Turn(item, None, (ns,), ns, ns, 0) for item in items)
        found.append(Round(number, index, (4.0, 4.0), 0, {}, turns))
    found += [Stopped(number, item, "converged") for item in items]
    return [*found, Sat(number)] if whole else found


def collected(events: Iterable[Event]) -> list[Record | ItemFailed]:
    collector = Collector(DOCUMENT)
    return [found for event in events for found in collector.add(event)]


WHOLE: list[Event] = [
    START,
    *loaded(0),
    *loaded(1),
    *loaded(2),
    *sitting(0, 0, 1, 2),
    *sitting(1, 0, 1, 2),
    ItemDone(0),
    ItemDone(1),
    ItemDone(2),
    End(),
]


class TestRecords:
    def test_each_item_is_one(self) -> None:
        records = collected(WHOLE)
        assert [r.key for r in records if isinstance(r, Record)] == ["key 0", "key 1", "key 2"]
        [first, *_] = records
        assert isinstance(first, Record)
        assert (first.scope, first.label, first.verdict) == ("block", "label 0", "ok")
        assert (first.load_bytes, first.run_bytes, first.error) == (100, 10, 1e-7)
        assert (first.warmup_runs, first.warmup_stopped_by) == (22, "steady")
        assert [(t.sitting, t.round) for t in first.turns] == [
            (s, r) for s in (0, 1) for r in range(7)
        ]
        assert len(first.rounds) == 14

    def test_it_is_said_as_soon_as_it_is_known(self) -> None:
        collector = Collector(DOCUMENT)
        for event in WHOLE:
            found = list(collector.add(event))
            assert bool(found) == isinstance(event, ItemDone)

    def test_the_worst_reason_to_stop_is_told(self) -> None:
        events = [
            Stopped(1, 1, "time") if event == Stopped(1, 1, "converged") else event
            for event in WHOLE
        ]
        found = [record.stopped_by for record in collected(events) if isinstance(record, Record)]
        assert found == ["converged", "time", "converged"]

    @pytest.mark.parametrize(("items", "verdict"), [(6, "ok"), (3, "flag")])
    def test_a_sitting_in_which_all_was_slower_is_no_scatter_of_one_item(
        self, items: int, verdict: str
    ) -> None:
        """Told apart from what an item does by the others in its rounds, if they are enough."""
        document = replace(DOCUMENT, items=(DOCUMENT.items * 2)[:items])
        collector = Collector(document)
        all_of = range(items)
        events = [START, *(event for item in all_of for event in loaded(item))]
        events += [*sitting(0, *all_of), *sitting(1, *all_of, ns=1300), ItemDone(0)]
        [record] = [found for event in events for found in collector.add(event)]
        assert isinstance(record, Record)
        assert record.verdict == verdict
        assert ("its sittings differ by 26.1%" in record.reasons) == (verdict == "flag")

    def test_failures_come_through(self) -> None:
        failed = ItemFailed(1, "no")
        events: list[Event] = [START, *loaded(0), Probe(1), failed]
        events += [*sitting(0, 0), *sitting(1, 0), ItemDone(0)]
        found = collected(events)
        assert found[0] == failed and isinstance(found[1], Record) and len(found) == 2

    def test_energy_of_all_sittings_is_one(self) -> None:
        energy = Energy(0, 0.5, 20, 1.5, "rapl:package-0")
        first, second = sitting(0, 0), sitting(1, 0)
        events = [START, *loaded(0), *first[:-1], energy, first[-1]]
        [record] = collected([*events, *second[:-1], energy, second[-1], ItemDone(0)])
        assert isinstance(record, Record) and record.energy is not None
        assert (record.energy.joules, record.energy.runs, record.energy.seconds) == (1.0, 40, 3.0)

    def test_the_device_is_the_last_that_started(self) -> None:
        collector = Collector(DOCUMENT)
        assert collector.fingerprint is None
        list(collector.add(START))
        assert collector.fingerprint == {"cpu": "x"}

    def test_the_fraction_grows_to_one(self) -> None:
        collector = Collector(DOCUMENT)
        fractions = []
        for event in WHOLE:
            list(collector.add(event))
            fractions.append(collector.fraction)
        assert fractions == sorted(fractions)
        assert fractions[0] == 0 and fractions[-1] == 1


class TestBrokenOff:
    def test_a_sitting_counts_only_if_it_is_whole(self) -> None:
        broken = sitting(0, 0, 1, ns=999_999, whole=False)
        events = [START, *loaded(0), *loaded(1), *broken[:6], ItemFailed(1, "killed")]
        found = collected([*events, *sitting(1, 0), *sitting(2, 0), ItemDone(0)])
        record = found[1]
        assert isinstance(record, Record)
        assert {turn.ns for turn in record.turns} == {(1000,)}
        assert {turn.sitting for turn in record.turns} == {1, 2}

    def test_what_a_killed_agent_said_of_unfinished_items_does_not_count(self) -> None:
        events = [START, *loaded(0), *sitting(0, 0, ns=999_999), *sitting(1, 0, whole=False)]
        events += [START, *loaded(0), *sitting(2, 0), *sitting(3, 0), ItemDone(0)]
        [record] = collected(events)
        assert isinstance(record, Record)
        assert {turn.sitting for turn in record.turns} == {2, 3}
        assert record.warmup_runs == 22

    def test_finished_items_stay_finished(self) -> None:
        events = [START, *loaded(0), *sitting(0, 0), *sitting(1, 0), ItemDone(0)]
        assert len(collected([*events, START])) == 1
        with pytest.raises(ProfileError, match="again after it was finished"):
            collected([*events, Probe(0)])

    def test_a_journal_that_lost_lines_that_were_read_tells_them_once_more(self) -> None:
        first = [START, *loaded(0), *loaded(1), *sitting(0, 0, 1), *sitting(1, 0, 1), ItemDone(0)]
        again = [START, *loaded(0), *loaded(1), *sitting(0, 0, 1, ns=2000), *sitting(1, 0, 1)]
        records = collected([*first, *again, ItemDone(0), ItemDone(1), *loaded(2)])
        assert [one.key for one in records if isinstance(one, Record)] == ["key 0", "key 1"]
        [kept, other] = [one for one in records if isinstance(one, Record)]
        assert {turn.ns for turn in kept.turns} == {(1000,)}
        assert {turn.ns for turn in other.turns} == {(1000,), (2000,)}
        assert other.warmup_runs == 22

    def test_what_is_told_once_more_is_not_counted_as_work(self) -> None:
        collector = Collector(DOCUMENT)
        first = [START, *loaded(0), *sitting(0, 0), *sitting(1, 0), ItemDone(0)]
        for event in [*first, *first]:
            list(collector.add(event))
        assert collector.fraction == pytest.approx(1 / 3)

    def test_an_agent_that_gave_up_and_went_on(self) -> None:
        assert len(collected([START, AgentError("disk full"), *WHOLE])) == 3


class TestNonsense:
    @pytest.mark.parametrize(
        ("events", "said"),
        [
            ([Probe(3)], "item 3 of 3"),
            ([Sit(0, (0, 3))], "item 3 of 3"),
            ([Sat(0)], "has not begun"),
            ([Sit(0, (0,)), Sat(1)], "has not begun"),
            ([Sit(1, (0,)), Sit(1, (0,))], "sitting 1 after sitting 1"),
            ([START, Sit(1, (0,)), Sit(0, (0,))], "sitting 0 after sitting 1"),
            ([Sit(0, (0,)), START, Sat(0)], "has not begun"),
            ([Warm(0, 0, 10, "steady")], "has not begun"),
            ([Sit(0, (0,)), Warm(0, 1, 10, "steady")], "not in sitting 0"),
            ([*sitting(0, 0)[:3], sitting(0, 0)[2]], "round 0 where round 1 is due"),
            ([*sitting(0, 0)[:2], sitting(0, 0)[3]], "round 1 where round 0 is due"),
            (
                [Sit(0, (0,)), Round(0, 0, (4.0, 4.0), 0, {}, (Turn(0, None, (1,), 1, 1, 0),) * 2)],
                "or twice",
            ),
            ([Energy(0, 1.0, 1, 1.0, "x")], "energy outside a sitting"),
            ([*loaded(0), ItemDone(0)], "nothing was measured"),
            ([*sitting(0, 0), ItemDone(0)], "nothing was measured"),
            ([*loaded(0), *sitting(0, 0, whole=False), ItemDone(0)], "nothing was measured"),
            ([ItemFailed(0, "no"), ItemFailed(0, "no")], "again after it was finished"),
            ([ItemFailed(0, "no"), End()], "item 1 is not finished"),
            ([Described({})], "a description"),
        ],
    )
    def test_is_named(self, events: list[Event], said: str) -> None:
        with pytest.raises(ProfileError, match="does not speak the protocol") as caught:
            collected([START, *events])
        assert said in caught.value.cause and caught.value.fix


few = st.integers(0, 3)
turns = st.builds(
    Turn,
    few,
    st.none() | st.integers(1, 1 << 62),
    st.lists(st.sampled_from([1, 1000, (1 << 63) - 1]), min_size=1, max_size=3).map(tuple),
    st.sampled_from([1, 1000, (1 << 63) - 1]),
    st.sampled_from([0, 1, 1000, (1 << 63) - 1]),
    st.none() | few,
)
canaries = st.tuples(*[st.sampled_from([1e-300, 4.0, 4.1, 8.0, 1e300])] * 2)
readings = st.dictionaries(
    st.sampled_from(["temperature_c", "throttled_now"]), st.floats(-1e300, 1e300)
)
words = st.sampled_from(["converged", "time", "steady", "other"])
any_event: st.SearchStrategy[Event] = st.one_of(
    st.sampled_from(WHOLE),
    st.builds(
        Loaded,
        few,
        st.none() | st.integers(-9, 9),
        st.none(),
        st.integers(1, 9),
        st.none() | st.floats(0, 1),
        st.none() | st.booleans(),
    ),
    st.builds(Sit, few, st.lists(few, max_size=4).map(tuple)),
    st.builds(Warm, few, few, few, words),
    st.builds(
        Round, few, few, canaries, st.none() | few, readings, st.lists(turns, max_size=3).map(tuple)
    ),
    st.builds(Stopped, few, few, words),
    st.builds(Energy, few, st.floats(-1e300, 1e300), few, st.floats(1e-300, 1e300), words),
    st.builds(Sat, few),
    st.builds(ItemDone, few),
    st.builds(ItemFailed, few, st.just("no")),
)


class TestAnyOrder:
    @given(st.lists(any_event, max_size=60))
    def test_of_any_events_gives_records_or_a_profile_error(self, events: list[Event]) -> None:
        with suppress(ProfileError):
            collected(events)

    @settings(deadline=None)
    @given(st.data())
    def test_of_events_left_out_doubled_and_mixed(self, data: st.DataObject) -> None:
        events = list(WHOLE)
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, len(events) - 1))
            match data.draw(st.sampled_from(["out", "double", "swap", "put", "again"])):
                case "out":
                    del events[place]
                case "double":
                    events.insert(place, events[place])
                case "swap":
                    other = data.draw(st.integers(0, len(events) - 1))
                    events[place], events[other] = events[other], events[place]
                case "put":
                    events[place] = data.draw(any_event)
                case "again":
                    events.insert(place, START)
        with suppress(ProfileError):
            records = [one for one in collected(events) if isinstance(one, Record)]
            assert len({record.key for record in records}) == len(records)
            for record in records:
                places = [(one.sitting, one.round) for one in record.turns]
                assert len(set(places)) == len(places), "a table could not hold it"
