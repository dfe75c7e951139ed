from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hwnas.bundle import Bundle, Manifest
from hwnas.errors import MissingMeasurements, UnknownName
from hwnas.profile import Settings
from hwnas.profile.record import Energy
from hwnas.space import Space, Subnet
from hwnas.table import Cost, CostModel, Lut, missing
from hwnas.table.weights import WeightBytes
from tests.support.bundles import make_bundle, make_space
from tests.support.tables import fill_blocks, fingerprint, put, put_subnet

MS = {"stem/base": 1.0, "layers.0/h8": 2.0, "layers.0/h16": 3.0, "head/base": 0.5}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "net.hwnas")


@pytest.fixture
def lut(tmp_path: Path, bundle: Bundle) -> Iterator[Lut]:
    with fill_blocks(tmp_path / "lut.db", bundle, MS, spread=0.1) as made:
        yield made


def find(bundle: Bundle, name: str) -> Subnet:
    return bundle.manifest.space.find(name)


def every(bundle: Bundle) -> list[Subnet]:
    return list(bundle.manifest.space.subnets())


class TestPlainSum:
    def test_latency_is_the_sum(self, bundle: Bundle, lut: Lut) -> None:
        cost = CostModel(bundle, lut).predict(find(bundle, "d2-h16"))
        assert cost.p50_ms == pytest.approx(1 + 2 * 3 + 0.5)
        assert cost.p95_ms == pytest.approx((1 + 2 * 3 + 0.5) * 1.09)
        assert not cost.measured and cost.p50_interval_ms is None
        assert cost.p50_prediction_ms is None, "nothing whole was measured"

    def test_memory_is_what_loads_add_and_the_highest_run(
        self, tmp_path: Path, bundle: Bundle
    ) -> None:
        with Lut.create(tmp_path / "l.db", fingerprint(), Settings()) as lut:
            for i, (kind, unit) in enumerate(bundle.kinds().items()):
                put(lut, kind, 1.0, label=unit, load_bytes=10**i, run_bytes=7 * 10**i)
            model = CostModel(bundle, lut)
        units = list(bundle.kinds().values())
        assert units == ["stem/base", "layers.0/h8", "layers.0/h16", "head/base"]
        assert model.predict(find(bundle, "d3-h16")).memory_bytes == pytest.approx(8301)
        assert model.predict(find(bundle, "d2-h8")).memory_bytes == pytest.approx(8021)

    def test_bytes_are_the_bundles(self, bundle: Bundle, lut: Lut) -> None:
        subnets = list(bundle.manifest.space.subnets())
        costs = CostModel(bundle, lut).predict_many(subnets)
        assert [c.weight_bytes for c in costs] == [bundle.weight_bytes(s) for s in subnets]
        assert all(type(c.weight_bytes) is int for c in costs)

    def test_many_equal_one_by_one(self, bundle: Bundle, lut: Lut) -> None:
        model = CostModel(bundle, lut)
        subnets = list(bundle.manifest.space.subnets())
        assert model.predict_many(subnets) == [model.predict(s) for s in subnets]
        assert model.predict_many([]) == []

    def test_says_what_it_did(self, bundle: Bundle, lut: Lut) -> None:
        assert CostModel(bundle, lut).describe()[0] == "p50: plain sum of blocks, not calibrated"


class TestUnknown:
    def test_memory_not_told_is_nan(self, tmp_path: Path, bundle: Bundle) -> None:
        with fill_blocks(tmp_path / "l.db", bundle, MS, load_bytes=None, run_bytes=None) as lut:
            model = CostModel(bundle, lut)
            cost = model.predict(find(bundle, "max"))
            assert "does not tell" in model.describe()[2]
        assert math.isnan(cost.memory_bytes)
        assert cost.p50_ms == pytest.approx(10.5)

    def test_memory_of_one_block_not_told_is_nan(self, tmp_path: Path, bundle: Bundle) -> None:
        with fill_blocks(tmp_path / "l.db", bundle, MS) as lut:
            kind = bundle.manifest.blocks["layers.0/h8"].kind
            put(lut, kind, 1.0, load_bytes=500, run_bytes=None)
            costs = CostModel(bundle, lut).predict_many(
                [find(bundle, "d1-h8"), find(bundle, "d1-h16")]
            )
        assert math.isnan(costs[0].memory_bytes)
        assert costs[1].memory_bytes == pytest.approx(3010)

    def test_all_missing_and_failed_are_named(self, tmp_path: Path, bundle: Bundle) -> None:
        with fill_blocks(tmp_path / "l.db", bundle, {"stem/base": 1.0}) as lut:
            kind = bundle.manifest.blocks["head/base"].kind
            lut.fail(kind, "block", "head/base", "killed by SIGSEGV")
            with pytest.raises(MissingMeasurements) as caught:
                CostModel(bundle, lut)
            found = missing(bundle, lut)
        assert caught.value.cause.split("lacks ")[1] == (
            "3 kinds of block: layers.0/h8 (and 2 more of its kind) not measured, "
            "layers.0/h16 (and 2 more of its kind) not measured, "
            "head/base failed: killed by SIGSEGV"
        )
        assert caught.value.fix == (
            f"hwnas profile {bundle.path} --resume -o {lut.path} --retry-failed"
        )
        assert [item.blocks[0] for item in found] == ["layers.0/h8", "layers.0/h16", "head/base"]
        assert [item.error for item in found] == ["", "", "killed by SIGSEGV"]

    def test_only_what_is_needed_is_asked_for(self, tmp_path: Path, bundle: Bundle) -> None:
        known = {unit: ms for unit, ms in MS.items() if unit != "layers.0/h16"}
        narrow, wide = find(bundle, "d2-h8"), find(bundle, "d2-h16")
        with fill_blocks(tmp_path / "l.db", bundle, known) as lut:
            model = CostModel(bundle, lut, [narrow])
            assert model.predict(narrow).p50_ms == pytest.approx(5.5)
            with pytest.raises(
                MissingMeasurements, match=r"1 kind of block: layers.0/h16"
            ) as caught:
                model.predict_many([narrow, wide])
            assert "--retry-failed" not in caught.value.fix

    def test_a_subnet_of_another_space(self, bundle: Bundle, lut: Lut) -> None:
        other = make_space(depth=5).find("d5-h8")
        with pytest.raises(UnknownName, match=r"layers\.3/h8"):
            CostModel(bundle, lut).predict(other)

    def test_an_invalid_measurement_is_as_good_as_none(
        self, tmp_path: Path, bundle: Bundle
    ) -> None:
        known = {unit: ms for unit, ms in MS.items() if unit != "head/base"}
        with fill_blocks(tmp_path / "l.db", bundle, known) as lut:
            kind = bundle.manifest.blocks["head/base"].kind
            why = ("outputs are off by 0.11 of their size",)
            put(lut, kind, 0.5, label="head/base", verdict="invalid", reasons=why)
            with pytest.raises(
                MissingMeasurements, match=r"head/base invalid: outputs are off by 0\.11"
            ) as caught:
                CostModel(bundle, lut)
        assert "--retry-failed" in caught.value.fix


class TestCalibration:
    def test_one_whole_subnet_gives_the_scale(self, bundle: Bundle, lut: Lut) -> None:
        put_subnet(lut, bundle, "max", 10.5 * 0.9, load_bytes=4000, run_bytes=10)
        model = CostModel(bundle, lut)
        assert model.predict(find(bundle, "d1-h8")).p50_ms == pytest.approx(3.5 * 0.9)
        p50, _, memory = model.describe()
        assert p50.startswith("p50: calibrated on 1 whole subnet: 0.900 x sum of warm runs; 90% of")
        assert "no plain sum, since a block timed alone" in p50
        assert memory.startswith("memory: calibrated on 1 whole subnet: 0.800 x sum of loads and")

    def test_the_share_of_the_cold_penalty_that_is_paid(
        self, tmp_path: Path, bundle: Bundle
    ) -> None:
        cold = {"stem/base": 1.1, "layers.0/h8": 2.4, "layers.0/h16": 4.5, "head/base": 0.4}
        with fill_blocks(tmp_path / "l.db", bundle, MS, cold_ms=cold) as lut:
            put_subnet(lut, bundle, "max", 10.5 + 0.4 * (0.1 + 3 * 1.5))
            model = CostModel(bundle, lut)
            assert model.predict(find(bundle, "d1-h8")).p50_ms == pytest.approx(3.5 + 0.4 * 0.5)
            text = model.describe()[0]
        assert text.startswith(
            "p50: calibrated on 1 whole subnet: "
            "sum of warm runs + 0.400 x sum of cold penalties; 90% of new ones within"
        )

    def test_several_give_scale_and_offset(self, bundle: Bundle, lut: Lut) -> None:
        for name, total in [("d1-h8", 3.5), ("d1-h16", 4.5), ("d2-h16", 7.5), ("d3-h16", 10.5)]:
            put_subnet(lut, bundle, name, 1.1 * total - 0.2, spread=0.1)
        model = CostModel(bundle, lut)
        cost = model.predict(find(bundle, "d3-h8"))
        assert cost.p50_ms == pytest.approx(1.1 * 7.5 - 0.2)
        assert cost.p95_ms == pytest.approx((1.1 * 7.5 - 0.2) * 1.09)
        assert model.describe()[0].startswith(
            "p50: calibrated on 4 whole subnets: 1.100 x sum of warm runs - 0.2 ms; each predicted "
            "from the others within 0.0% on average; 90% of new ones within"
        )

    def test_predictions_come_with_intervals(self, bundle: Bundle, lut: Lut) -> None:
        for i, name in enumerate(["d1-h8", "d1-h16", "d2-h16", "d2-h8", "d3-h16"]):
            sums = CostModel(bundle, lut, without=every(bundle)).predict(find(bundle, name))
            off = 1.02 if i % 2 else 0.98
            load = round(sums.memory_bytes * off)
            put_subnet(lut, bundle, name, sums.p50_ms * off, load_bytes=load)
        cost = CostModel(bundle, lut).predict(find(bundle, "d3-h8"))
        for value, ends in (
            (cost.p50_ms, cost.p50_prediction_ms),
            (cost.p95_ms, cost.p95_prediction_ms),
            (cost.memory_bytes, cost.memory_prediction_bytes),
        ):
            assert ends is not None
            low, high = ends
            assert 0.8 * value < low < 0.98 * value and 1.02 * value < high < 1.25 * value

    def test_the_noise_of_the_measurements_is_in_the_interval(
        self, bundle: Bundle, lut: Lut
    ) -> None:
        for name, total in [("d1-h8", 3.5), ("d1-h16", 4.5), ("d2-h16", 7.5), ("d3-h16", 10.5)]:
            put_subnet(lut, bundle, name, total, spread=0.5)
        low, high = CostModel(bundle, lut).predict(find(bundle, "d3-h8")).p50_prediction_ms or (
            0,
            0,
        )
        assert high / low > 1.1, "their own medians are known to some 5%"

    def test_what_is_left_out_does_not_calibrate(self, bundle: Bundle, lut: Lut) -> None:
        put_subnet(lut, bundle, "max", 9.0)
        model = CostModel(bundle, lut, without=[find(bundle, "max")])
        assert model.predict(find(bundle, "max")).p50_ms == pytest.approx(10.5)
        assert model.measured(find(bundle, "max")) is not None

    def test_an_invalid_whole_does_not_calibrate(self, bundle: Bundle, lut: Lut) -> None:
        put_subnet(lut, bundle, "max", 99.0, verdict="invalid", reasons=("throttled",))
        assert CostModel(bundle, lut).describe()[0] == "p50: plain sum of blocks, not calibrated"

    def test_measured_is_what_was_measured(self, bundle: Bundle, lut: Lut) -> None:
        put_subnet(lut, bundle, "d2-h8", 5.0, spread=0.2, load_bytes=4000, run_bytes=500)
        model = CostModel(bundle, lut)
        cost = model.cost(find(bundle, "d2-h8"))
        assert cost == model.measured(find(bundle, "d2-h8"))
        assert cost.measured and cost.p50_prediction_ms is None
        assert (cost.p50_ms, cost.p95_ms, cost.memory_bytes) == (5.0, pytest.approx(5.9), 4500.0)
        low, high = cost.p50_interval_ms or (0, 0)
        assert low < 5.0 < high
        assert model.measured(find(bundle, "d3-h8")) is None
        assert not model.cost(find(bundle, "d3-h8")).measured

    def test_a_measurement_made_later_is_seen(self, bundle: Bundle, lut: Lut) -> None:
        model = CostModel(bundle, lut)
        assert model.measured(find(bundle, "max")) is None
        put_subnet(lut, bundle, "max", 7.0)
        assert model.cost(find(bundle, "max")).p50_ms == 7.0
        assert model.predict(find(bundle, "max")).p50_ms == pytest.approx(10.5)

    def test_whole_memory_not_told_is_nan(self, bundle: Bundle, lut: Lut) -> None:
        put_subnet(lut, bundle, "max", 7.0, load_bytes=None)
        model = CostModel(bundle, lut)
        assert math.isnan(model.cost(find(bundle, "max")).memory_bytes)
        predicted = model.predict(find(bundle, "max")).memory_bytes
        assert predicted == pytest.approx(5010), "blocks still tell"

    def test_labels_that_are_not_of_this_bundle_do_not_calibrate(
        self, bundle: Bundle, lut: Lut
    ) -> None:
        put(lut, "another kind", 99.0, "subnet", "d2-h8")
        put(lut, "stranger", 99.0, "subnet", "no-such-subnet")
        assert CostModel(bundle, lut).describe()[0] == "p50: plain sum of blocks, not calibrated"


class TestEnergy:
    def energy(self, joules: float) -> Energy:
        return Energy(100 * joules, 100, 0.5, "rapl:package-0")

    @pytest.fixture
    def metered(self, tmp_path: Path, bundle: Bundle) -> Iterator[Lut]:
        with Lut.create(tmp_path / "e.db", fingerprint(), Settings()) as lut:
            for i, (kind, unit) in enumerate(bundle.kinds().items()):
                put(lut, kind, MS[unit], label=unit, energy=self.energy(10.0**-i))
            yield lut

    def test_is_the_sum_over_blocks(self, bundle: Bundle, metered: Lut) -> None:
        model = CostModel(bundle, metered)
        cost = model.predict(find(bundle, "d2-h16"))
        assert cost.energy_j == pytest.approx(1 + 2 * 0.01 + 0.001)
        assert cost.metric("energy") == cost.energy_j and cost.energy_prediction_j is None
        assert model.describe()[3] == "energy: plain sum of blocks, not calibrated"

    def test_is_calibrated_by_whole_subnets(self, bundle: Bundle, metered: Lut) -> None:
        put_subnet(metered, bundle, "max", 9.0, energy=self.energy(1.5 * 1.031))
        model = CostModel(bundle, metered)
        cost = model.predict(find(bundle, "d1-h8"))
        assert cost.energy_j == pytest.approx(1.5 * (1 + 0.1 + 0.001))
        low, high = cost.energy_prediction_j or (0, 0)
        assert low < cost.energy_j < high
        measured = model.cost(find(bundle, "max"))
        assert measured.energy_j == pytest.approx(1.5 * 1.031) and measured.macs > 0
        assert model.describe()[3].startswith(
            "energy: calibrated on 1 whole subnet: 1.500 x sum of blocks' energy"
        )

    def test_without_a_counter_it_is_not_known(self, bundle: Bundle, lut: Lut) -> None:
        model = CostModel(bundle, lut)
        assert math.isnan(model.predict(find(bundle, "max")).energy_j)
        assert len(model.describe()) == 3

    def test_of_one_block_not_told_is_nan(self, bundle: Bundle, metered: Lut) -> None:
        put(metered, bundle.manifest.blocks["layers.0/h8"].kind, 2.0, energy=None)
        costs = CostModel(bundle, metered).predict_many(
            [find(bundle, "d1-h8"), find(bundle, "d1-h16")]
        )
        assert math.isnan(costs[0].energy_j)
        assert costs[1].energy_j == pytest.approx(1.011)


class TestTiedWeights:
    @pytest.fixture
    def tied(self, bundle: Bundle) -> Bundle:
        """The bundle with layer 2 using the weights of layer 0, as in ALBERT."""
        blocks = dict(bundle.manifest.blocks)
        for target, source in [("layers.2/h8", "layers.0/h8"), ("layers.2/h16", "layers.0/h16")]:
            weights = blocks[source].weights
            blocks[target] = blocks[target].model_copy(update={"weights": weights})
        manifest: Manifest = bundle.manifest.model_copy(update={"blocks": blocks})
        return Bundle(bundle.path, manifest)

    def test_each_byte_counts_once(self, tied: Bundle, lut: Lut) -> None:
        subnets = list(tied.manifest.space.subnets())
        costs = CostModel(tied, lut).predict_many(subnets)
        assert [c.weight_bytes for c in costs] == [tied.weight_bytes(s) for s in subnets]
        by_name = dict(zip([s.name for s in subnets], costs, strict=True))
        assert by_name["d3-h16"].weight_bytes == by_name["d2-h16"].weight_bytes

    def test_overlap_within_a_tensor(self, tmp_path: Path) -> None:
        free = make_bundle(tmp_path / "free", depth=3, equal=False)
        blocks = dict(free.manifest.blocks)
        for i in (1, 2):
            for width in ("h8", "h16"):
                weights = blocks[f"layers.0/{width}"].weights
                unit = f"layers.{i}/{width}"
                blocks[unit] = blocks[unit].model_copy(update={"weights": weights})
        manifest = free.manifest.model_copy(update={"blocks": blocks})
        bundle = Bundle(free.path, manifest)
        index = {unit: i for i, unit in enumerate(blocks)}
        subnets = list(bundle.manifest.space.subnets())
        flat = np.array([index[unit] for s in subnets for unit in s.blocks])
        counts = np.array([len(s.blocks) for s in subnets])
        found = WeightBytes(blocks).of(flat, counts).tolist()
        assert found == [bundle.weight_bytes(s) for s in subnets]


def test_many_subnets_are_priced_in_bulk(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "wide", depth=10, widths=(4, 8, 12), dim=8, equal=False)
    ms = dict.fromkeys(bundle.kinds().values(), 1.0)
    space: Space = bundle.manifest.space
    subnets = [s for s, _ in zip(space.subnets(), range(20_000), strict=False)]
    with fill_blocks(tmp_path / "l.db", bundle, ms) as lut:
        model = CostModel(bundle, lut)
        start = time.process_time()
        costs = model.predict_many(subnets)
        seconds = time.process_time() - start
    assert len(costs) == 20_000 and isinstance(costs[0], Cost)
    # A regression to pricing one by one takes over 100 us each; this is about 4.
    assert seconds < 20_000 * 50e-6
