from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from hwnas.bundle import Block, Bundle, bytes_used
from hwnas.manifest import WeightRange
from hwnas.profile import Settings
from hwnas.profile.record import Energy
from hwnas.space import Subnet
from hwnas.table import METRICS, AdditiveCosts, Cost, CostModel, Linear, Lut
from hwnas.table.additive import bytes_linear, compose
from hwnas.table.fit import Fit, Form
from hwnas.table.weights import cut_atoms
from tests.support.bundles import make_bundle
from tests.support.tables import fingerprint, put, put_subnet


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("bundle") / "net.hwnas"
    return make_bundle(path, depth=4, widths=(4, 8, 12), equal=False)


@pytest.fixture(scope="module")
def subnets(bundle: Bundle) -> list[Subnet]:
    return random.Random(0).sample(list(bundle.manifest.space.subnets()), 60)


def table(path: Path, bundle: Bundle, *, energy: bool = True) -> Lut:
    """Every kind with numbers of its own."""
    lut = Lut.create(path, fingerprint(), Settings())
    for i, (kind, unit) in enumerate(bundle.kinds().items(), 1):
        joules = Energy(0.01 * i, 10, 0.1, "rapl:package-0") if energy else None
        more = {"load_bytes": 1000 * i, "run_bytes": 7000 - 900 * i, "energy": joules}
        put(lut, kind, 0.3 + i / 7, "block", unit, spread=0.1, cold_ms=0.4 + i / 5, **more)
    return lut


def whole(
    lut: Lut, bundle: Bundle, sums: Mapping[str, Cost], names: list[str], weights: bool
) -> None:
    """Put whole subnets into the table that make the fits take more than one term."""
    for i, name in enumerate(names):
        cost = sums[name]
        mb = cost.weight_bytes / 1e6
        ms = 1.1 * cost.p50_ms + (900 * mb if weights else -0.2)
        load = round(0.9 * cost.memory_bytes - 300 * (i % 2))
        joules = Energy(10 * (1.2 * cost.energy_j + 0.001), 10, 0.1, "rapl:package-0")
        put_subnet(
            lut, bundle, name, ms, spread=0.1 + 0.01 * i, load_bytes=load, run_bytes=0,
            energy=joules,
        )  # fmt: skip


def check(model: CostModel, found: AdditiveCosts, subnets: list[Subnet]) -> None:
    """Hold what ``found`` gives for each subnet to the model's own predictions."""
    number = {f"{slot}/{choice}": i for i, (slot, choice) in enumerate(found.blocks)}
    for subnet, cost in zip(subnets, model.predict_many(subnets), strict=True):
        blocks = [number[unit] for unit in subnet.blocks]
        for metric in METRICS:
            linear = found.metrics[metric]
            assert linear is not None, metric
            assert linear(blocks) == pytest.approx(cost.metric(metric), rel=1e-12), metric
        assert found.shared_bytes(blocks) == cost.weight_bytes


def test_plain_sums_are_the_models(tmp_path: Path, bundle: Bundle, subnets: list[Subnet]) -> None:
    with table(tmp_path / "l.db", bundle) as lut:
        model = CostModel(bundle, lut)
        found = model.additive()
        check(model, found, subnets)
    assert found.blocks == tuple((b.slot, b.choice) for b in bundle.manifest.blocks.values())
    assert tuple(found.metrics) == METRICS
    memory, p50 = found.metrics["memory"], found.metrics["p50"]
    assert memory is not None and memory.peak is not None
    assert p50 is not None and p50.peak is None


@pytest.mark.parametrize("weights", [False, True])
def test_calibrated_forms_with_several_terms(
    tmp_path: Path, bundle: Bundle, subnets: list[Subnet], weights: bool
) -> None:
    with table(tmp_path / "l.db", bundle) as lut:
        plain = CostModel(bundle, lut)
        sums = {s.spec: plain.predict(s) for s in subnets}
        whole(lut, bundle, sums, [s.spec for s in subnets[:16]], weights)
        model = CostModel(bundle, lut)
        text = " ".join(model.describe())
        assert ("MB of weights" if weights else "x sum of warm runs - 0.2 ms") in text, text
        assert "energy: calibrated on 16 whole subnets" in text
        check(model, model.additive(), subnets)


def test_the_highest_run_counts_once() -> None:
    feature = Linear(0.0, np.array([1.0, 2.0, 3.0]), np.array([5.0, 0.0, 9.0]))
    fit = Fit(Form(("memory", "blocks"), signed=frozenset(["blocks"])), (0.5, -0.1))
    found = compose(fit, {"memory": feature, "blocks": Linear(0.0, np.ones(3))})
    assert found is not None
    assert found([0, 1]) == pytest.approx(0.5 * 3 + 0.5 * 5 - 0.2)
    assert found([0, 1, 2]) == pytest.approx(0.5 * 6 + 0.5 * 9 - 0.3)
    with pytest.raises(ValueError, match="no maximum"):
        feature.scaled(-1)


def test_what_is_not_known_is_none_or_nan(tmp_path: Path, bundle: Bundle) -> None:
    with table(tmp_path / "l.db", bundle, energy=False) as lut:
        kinds = bundle.kinds()
        first = next(iter(kinds))
        put(lut, first, 1.0, "block", kinds[first], load_bytes=None, run_bytes=None)
        found = CostModel(bundle, lut).additive()
    assert found.metrics["energy"] is None, "no block tells it"
    memory = found.metrics["memory"]
    assert memory is not None and np.isnan(memory.per_block).tolist() == [
        b.kind == first for b in bundle.manifest.blocks.values()
    ]


def used(slot: str, choice: str, *ranges: tuple[str, int, int]) -> Block:
    return Block(
        file="blocks/a.onnx", sha256="0", bytes=1, kind="k", inputs=(), outputs=(),
        weights=tuple(WeightRange(tensor=t, offset=o, length=n) for t, o, n in ranges),
        slot=slot, choice=choice,
    )  # fmt: skip


def named(*blocks: Block) -> dict[str, Block]:
    return {f"{block.slot}/{block.choice}": block for block in blocks}


def test_tensors_are_cut_where_uses_end() -> None:
    blocks = named(
        used("a", "s", ("w", 0, 10)),
        used("a", "l", ("w", 0, 30), ("b", 0, 4)),
        used("b", "s", ("w", 20, 5), ("w", 20, 5)),  # the same bytes twice
    )
    assert cut_atoms(blocks) == ((10, (0, 1)), (10 + 5 + 4, (1,)), (5, (1, 2)))


def test_bytes_of_slots_that_share_are_a_sum_only_if_what_they_share_is_always_there() -> None:
    tied = named(
        used("stem", "base", ("embedding", 0, 100)),
        used("mid", "s", ("m", 0, 3)),
        used("mid", "l", ("m", 0, 7)),
        used("head", "base", ("embedding", 0, 100), ("h", 0, 1)),
    )
    found = bytes_linear(tied, cut_atoms(tied), frozenset(["mid"]))
    assert found is not None
    assert (found.constant, found.per_block.tolist()) == (100.0, [0.0, 3.0, 7.0, 1.0])
    assert bytes_linear(tied, cut_atoms(tied), frozenset(["stem", "mid", "head"])) is None


def test_albert_like_sharing(tmp_path: Path, bundle: Bundle, subnets: list[Subnet]) -> None:
    blocks = dict(bundle.manifest.blocks)
    for width in ("h4", "h8", "h12"):
        weights = blocks[f"layers.0/{width}"].weights
        for i in (1, 2, 3):
            unit = f"layers.{i}/{width}"
            blocks[unit] = blocks[unit].model_copy(update={"weights": weights})
    tied = Bundle(bundle.path, bundle.manifest.model_copy(update={"blocks": blocks}))
    with table(tmp_path / "l.db", bundle) as lut:
        model = CostModel(tied, lut)
        found = model.additive()
        costs = model.predict_many(subnets)
    assert found.metrics["bytes"] is None and found.metrics["p50"] is not None
    number = {unit: i for i, unit in enumerate(blocks)}
    picked = [[number[unit] for unit in s.blocks] for s in subnets]
    assert [found.shared_bytes(p) for p in picked] == [c.weight_bytes for c in costs]


def test_atoms_of_any_blocks_sum_up_to_the_bytes_they_use(bundle: Bundle) -> None:
    rng = random.Random(1)
    blocks = {
        f"s{i}/base": used(
            f"s{i}", "base",
            *((f"t{rng.randrange(5)}", rng.randrange(50), rng.randrange(1, 50)) for _ in range(4)),
        )
        for i in range(30)
    }  # fmt: skip
    found = AdditiveCosts((), {}, cut_atoms(blocks))
    units = list(blocks.values())
    for _ in range(100):
        chosen = rng.sample(range(30), rng.randrange(1, 8))
        assert found.shared_bytes(chosen) == bytes_used([units[i] for i in chosen])
