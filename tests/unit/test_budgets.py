import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import TableError, UsageError
from hwnas.select import Budget, Tier, combine, parse_budget, parse_tier
from hwnas.select.budgets import resolve
from hwnas.select.units import parse_quantity, show, spell_up
from hwnas.table.cost import METRICS, Cost


@pytest.mark.parametrize(
    ("text", "metric", "value"),
    [
        ("p50=8ms", "p50", 8.0),
        ("p95=1.2s", "p95", 1200.0),
        ("p50=800us", "p50", 0.8),
        ("p50=800µs", "p50", 0.8),
        ("p50=800\u03bcs", "p50", 0.8),
        ("memory=200MB", "memory", 200e6),
        ("memory=1.5GiB", "memory", 1.5 * 2**30),
        ("bytes=64MB", "bytes", 64e6),
        ("bytes=64KiB", "bytes", 65536.0),
        ("bytes=12kB", "bytes", 12e3),
        ("bytes=512B", "bytes", 512.0),
        (" p50 = 8 ms ", "p50", 8.0),
        ("p50=.5ms", "p50", 0.5),
        ("p50=1e1ms", "p50", 10.0),
        ("energy=30mJ", "energy", 0.03),
        ("energy=250uJ", "energy", 250e-6),
        ("energy=250µJ", "energy", 250e-6),
        ("energy=1.5J", "energy", 1.5),
        ("macs=300M", "macs", 300e6),
        ("macs=1.2G", "macs", 1.2e9),
        ("macs=12k", "macs", 12e3),
    ],
)
def test_budgets_are_read_into_units_of_metrics(text: str, metric: str, value: float) -> None:
    (budget,) = parse_budget(text)
    assert (budget.metric, budget.relative) == (metric, False)
    assert budget.value == pytest.approx(value, rel=1e-15)


def test_several_budgets_and_shares() -> None:
    first, second = parse_budget("p50=50%,memory=200MB")
    assert (first.metric, first.value, first.relative) == ("p50", 0.5, True)
    assert (second.metric, second.value, second.relative) == ("memory", 200e6, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("p50=8", "the unit is missing"),
        ("p50=8MB", "'MB' is a unit of size, which p50 is not"),
        ("memory=8ms", "'ms' is a unit of time, which memory is not"),
        ("memory=200mb", "did you mean MB?"),
        ("energy=30ms", "'ms' is a unit of time, which energy is not"),
        ("energy=30MJ", "did you mean mJ?"),
        ("p50=30mJ", "'mJ' is a unit of energy, which p50 is not"),
        ("macs=300MB", "'MB' is a unit of size, which macs is not"),
        ("macs=300m", "did you mean M?"),
        ("macs=300", "the unit is missing"),
        ("memory=300M", "'M' is a unit of count, which memory is not"),
        ("p50=8parsec", "unknown unit 'parsec'"),
        ("p50=0ms", "above zero"),
        ("p50=0%", "above zero"),
        ("p50=-8ms", "above zero"),
        ("p50=nanms", "is not a number with a unit"),
        ("p50=infms", "is not a number with a unit"),
        ("p50=1e999ms", "finite"),
        ("p50=1e-999ms", "above zero"),
        ("p50=", "is not a number with a unit"),
        ("p50=ms", "is not a number with a unit"),
        ("p50=8ms=9ms", "unknown unit"),
        ("p99=8ms", "unknown metric in a budget: 'p99'"),
        ("=8ms", "unknown metric in a budget: ''"),
        ("8ms", "'8ms' does not say what it limits"),
        ("", "there is an empty budget"),
        ("p50=8ms,", "there is an empty budget"),
        ("p50=8ms,p50=9ms", "p50 is limited twice, by p50=8ms and by p50=9ms"),
    ],
)
def test_a_wrong_budget_is_named_with_its_fix(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_budget(text)
    assert said in caught.value.cause
    assert caught.value.fix


def test_an_option_takes_only_its_metrics() -> None:
    assert parse_budget("200MB", only=("memory",)) == parse_budget("memory=200MB")
    assert parse_budget("memory=200MB", only=("memory",)) == parse_budget("memory=200MB")
    with pytest.raises(UsageError, match="a budget on memory does not belong here"):
        parse_budget("memory=200MB", only=("p50", "p95"))
    with pytest.raises(UsageError) as caught:
        parse_budget("8ms", only=("p50", "p95"))
    assert caught.value.fix == "write p50=8ms or p95=8ms"


@given(st.text(max_size=20))
@settings(deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        budgets = parse_budget(text)
    except UsageError as error:
        assert error.fix
    else:
        assert all(b.metric in METRICS and 0 < b.value < math.inf for b in budgets)


def test_tiers() -> None:
    assert parse_tier("full:") == Tier("full", ())
    assert parse_tier("half:p50=50%,memory=100MB") == Tier(
        "half", parse_budget("p50=50%,memory=100MB")
    )
    for text in ("half", ":p50=8ms", "a b:p50=8ms", "../x:p50=8ms"):
        with pytest.raises(UsageError, match="is not a tier"):
            parse_tier(text)
    with pytest.raises(UsageError, match="unit is missing"):
        parse_tier("half:p50=8")


def test_common_budgets_hold_for_every_tier() -> None:
    memory = parse_budget("memory=100MB")
    tiers = combine([parse_tier("half:p50=50%"), parse_tier("full:")], memory)
    assert [[b.text for b in tier.budgets] for tier in tiers] == [
        ["memory=100MB", "p50=50%"],
        ["memory=100MB"],
    ]
    assert combine([], memory) == (Tier("best", memory),)
    assert combine([], []) == (Tier("best"),)


def test_tiers_that_contradict_are_refused() -> None:
    p50 = parse_budget("p50=8ms")
    with pytest.raises(UsageError, match=r"tier 'half': p50 is limited twice"):
        combine([parse_tier("half:p50=50%")], p50)
    with pytest.raises(UsageError, match="p50 is limited twice"):
        combine([], [*p50, *p50])
    with pytest.raises(UsageError, match="two tiers are named half"):
        combine([parse_tier("half:p50=50%"), parse_tier("half:p50=40%")])


def test_a_share_is_of_the_largest_and_says_whether_that_was_measured() -> None:
    tier = parse_tier("half:p50=50%,bytes=1kB")
    p50, size = resolve(tier, "d8", Cost(6.0, 7.0, 1e6, 4000, measured=True))
    assert (p50.limit, p50.reference) == (3.0, "d8 measured 6 ms")
    assert str(p50) == "p50 <= 3 ms (p50=50%: d8 measured 6 ms)"
    assert (size.limit, size.reference, str(size)) == (1000.0, None, "bytes <= 1 kB")
    (predicted,) = resolve(parse_tier("h:p95=10%"), "d8", Cost(6.0, 7.0, 1e6, 4000))
    assert predicted.limit == pytest.approx(0.7)
    assert predicted.reference == "d8 predicted 7 ms"


def test_a_share_of_what_is_not_known_is_refused() -> None:
    with pytest.raises(TableError, match="its memory is not known"):
        resolve(parse_tier("h:memory=50%"), "d8", Cost(6.0, 7.0, math.nan, 4000))


@given(
    st.sampled_from(METRICS),
    st.floats(min_value=1e-9, max_value=1e15, allow_nan=False),
)
@settings(deadline=None)
def test_a_suggested_budget_admits_the_value_and_no_more_than_it_must(
    metric: str, value: float
) -> None:
    name, _, text = spell_up(metric, value).partition("=")
    read, relative = parse_quantity(metric, text)
    assert name == metric and not relative
    assert read >= value
    byte = 1 if metric in ("memory", "bytes") else 0
    assert read <= value * 1.0011 + byte


def test_values_are_shown_in_the_unit_that_reads_best() -> None:
    shown = [show("p50", v) for v in (0.0004, 0.85, 8.0342, 1200)]
    assert shown == ["0.4 us", "850 us", "8.034 ms", "1.2 s"]
    shown = [show("memory", v) for v in (812, 201_300_000, 1.5e9)]
    assert shown == ["812 B", "201.3 MB", "1.5 GB"]
    assert [show("energy", v) for v in (2e-6, 0.0304, 1.25)] == ["2 uJ", "30.4 mJ", "1.25 J"]
    assert [show("macs", v) for v in (812, 217e6, 4.1e9)] == ["0.812 k", "217 M", "4.1 G"]


def test_a_budget_is_a_value() -> None:
    assert Budget("p50", 8.0, False, "p50=8ms") == parse_budget("p50=8ms")[0]
