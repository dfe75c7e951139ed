"""Searches of spaces of which everything is known."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.errors import HwnasError, Infeasible, MissingExtra, TableError, UnknownName, UsageError
from hwnas.select.budgets import Limit
from hwnas.select.pareto import pareto_front
from hwnas.select.protocol import AdditiveQuality
from hwnas.select.search import METHODS, SearchResult, Surrogate, search
from hwnas.select.search.encoding import Encoding
from hwnas.space import Slot, Space, Subnet
from hwnas.table.cost import Cost
from tests.support.searching import (
    AdditiveSummedCosts,
    Balanced,
    SummedCosts,
    everything,
    staged,
)


def run(space: Space, **given: Any) -> SearchResult:
    options: dict[str, Any] = {"evaluations": 80, "population": 20, "predicted": 400, **given}
    quality = options.pop("quality", None) or Balanced(space)
    costs = options.pop("costs", None) or AdditiveSummedCosts(space)
    return search(space, costs, quality, **options)


def found(result: SearchResult) -> list[tuple[str, float]]:
    return [(subnet.spec, quality) for subnet, quality in result.evaluated]


def p50_limit(value: float, metric: str = "p50") -> Limit:
    return Limit(metric=metric, limit=value, text=f"{metric}={value}")


@pytest.mark.parametrize("method", METHODS)
class TestEveryMethod:
    def test_the_same_seed_gives_the_same_search(self, method: str) -> None:
        space = staged()
        first, again, other = (run(space, method=method, seed=seed) for seed in (1, 1, 2))
        assert found(first) == found(again)
        assert found(first) != found(other)

    def test_no_subnet_is_evaluated_twice_and_the_budget_is_kept(self, method: str) -> None:
        space = staged()
        quality = Balanced(space)
        told: list[tuple[str, int, int]] = []
        result = run(
            space,
            method=method,
            quality=quality,
            evaluations=70,
            progress=lambda *what: told.append(what),
        )
        assert len(set(quality.evaluated)) == len(quality.evaluated) == 70
        assert [subnet.spec for subnet in result.subnets] == quality.evaluated
        assert result.qualities == tuple(quality.value(subnet) for subnet in result.subnets)
        expected = [SummedCosts(space).cost(subnet).p50_ms for subnet in result.subnets]
        np.testing.assert_allclose(result.costs[:, 0], expected)

    def test_only_what_meets_the_budgets_is_evaluated(self, method: str) -> None:
        space = staged()
        costs = AdditiveSummedCosts(space)
        # Hardly one in a thousand random subnets is so cheap.
        bounds = costs.cost(space.smallest()).p50_ms * 1.5, costs.cost(space.largest()).memory_bytes
        drawn = [space.sample(random.Random(i)) for i in range(1000)]
        assert sum(costs.cost(s).p50_ms <= bounds[0] for s in drawn) <= 1
        limits = [p50_limit(bounds[0]), p50_limit(bounds[1] * 0.9, "memory")]
        result = run(space, method=method, limits=limits)
        assert len(result.subnets) == 80
        for subnet in result.subnets:
            cost = costs.cost(subnet)
            assert cost.p50_ms <= limits[0].limit
            assert cost.memory_bytes <= limits[1].limit

    def test_a_small_space_is_evaluated_whole_and_then_it_ends(self, method: str) -> None:
        space = everything()
        result = run(space, method=method, evaluations=1000, population=60)
        assert {s.spec for s in result.subnets} == {s.spec for s in space.subnets()}
        points = np.array(
            [(-Balanced(space).value(s), SummedCosts(space).cost(s).p50_ms) for s in result.subnets]
        )
        assert result.front == pareto_front(points)

    def test_a_space_of_one_subnet(self, method: str) -> None:
        result = run(Space(slots=(Slot(name="all"),)), method=method)
        assert [subnet.name for subnet in result.subnets] == ["net"]

    @pytest.mark.parametrize("evaluations", [1, 2, 3])
    def test_a_few_evaluations(self, method: str, evaluations: int) -> None:
        space = staged()
        given = {"evaluations": evaluations, "population": 2, "predicted": 20}
        result = run(
            space, method=method, solve=lambda _: [space.sample(random.Random(0))], **given
        )
        assert len(result.subnets) == evaluations
        assert result.subnets[0] == space.smallest()

    def test_a_floor_for_quality(self, method: str) -> None:
        space = staged()
        result = run(space, method=method, min_quality=80.0)
        assert result.front
        assert all(result.qualities[i] >= 80.0 for i in result.front)
        assert any(quality < 80.0 for quality in result.qualities)

    def test_start_is_evaluated_first(self, method: str) -> None:
        space = staged()
        start = [space.sample(random.Random(i)) for i in range(4)]
        result = run(space, method=method, start=[*start, start[0]])
        expected = [space.smallest(), space.largest(), *start]
        assert [s.spec for s in result.subnets[:6]] == [s.spec for s in expected]

    def test_a_file_of_a_search_that_is_done_answers_at_once(
        self, method: str, tmp_path: Path
    ) -> None:
        space = staged()
        first = run(space, method=method, state=tmp_path / "s.db")
        quality = Balanced(space)
        again = run(space, method=method, state=tmp_path / "s.db", quality=quality)
        assert found(again) == found(first)
        assert quality.evaluated == []

    def test_a_search_that_was_cut_off_goes_on(self, method: str, tmp_path: Path) -> None:
        space = staged()
        whole = run(space, method=method)

        class Failing(Balanced):
            def scores(self, subnets: Sequence[Subnet], progress: object = None) -> list[float]:
                if len(self.evaluated) >= 40:
                    raise HwnasError("the link is lost")
                return super().scores(subnets, progress)

        cut = Failing(space)
        with pytest.raises(HwnasError, match="the link is lost"):
            run(space, method=method, state=tmp_path / "s.db", quality=cut)
        assert len(cut.evaluated) == 40
        rest = Balanced(space)
        result = run(space, method=method, state=tmp_path / "s.db", quality=rest)
        assert found(result) == found(whole)
        assert len(rest.evaluated) == 40


EVALUATIONS = {"linas": 128, "nsga2": 384, "random": 384}


class TestHowGood:
    @pytest.fixture(scope="class")
    @classmethod
    def histories(cls) -> dict[str, list[float]]:
        """Medians over three seeds, after every evaluation, in one box."""
        space = staged(4, 4, 6)
        results = {
            method: [
                run(
                    space,
                    method=method,
                    seed=seed,
                    evaluations=EVALUATIONS[method],
                    population=32,
                    predicted=1000,
                )
                for seed in range(3)
            ]
            for method in METHODS
        }
        box = results["linas"][0].box
        return {
            method: np.median([result.history(box) for result in runs], axis=0).tolist()
            for method, runs in results.items()
        }

    def test_random_search_is_beaten(self, histories: dict[str, list[float]]) -> None:
        last = {method: history[-1] for method, history in histories.items()}
        assert last["nsga2"] > 1.1 * last["random"]
        assert last["linas"] > 1.2 * last["random"]

    def test_linas_needs_far_fewer_evaluations(self, histories: dict[str, list[float]]) -> None:
        assert histories["linas"][-1] > histories["nsga2"][2 * len(histories["linas"]) - 1]


class TestSurrogate:
    def test_it_is_an_additive_quality_and_its_terms_are_its_scores(self) -> None:
        space = everything()
        encoding = Encoding(space)
        subnets = list(space.subnets())[::5]
        quality = np.array(Balanced(space).scores(subnets))
        surrogate = Surrogate(encoding, encoding.encode(subnets), quality)
        assert isinstance(surrogate, AdditiveQuality)
        terms = surrogate.terms(space)
        assert set(terms.per_block) == set(space.blocks)
        every = list(space.subnets())
        summed = [
            terms.constant + sum(terms.per_block[pair] for pair in subnet.choices.items())
            for subnet in every
        ]
        np.testing.assert_allclose(summed, surrogate.scores(every), rtol=1e-9)

    def test_an_additive_quality_is_found_again(self) -> None:
        space = staged(2)
        rng = np.random.default_rng(0)
        worth = {pair: float(rng.normal()) for pair in space.blocks}
        for slot, written in space.blocks:  # what a dimension is worth is the same everywhere
            worth[slot, written] = worth[slot, space.written(slot)[0]] if slot != "stem" else 0.0
        subnets = [space.sample(random.Random(i)) for i in range(300)]
        quality = np.array([sum(worth[pair] for pair in s.choices.items()) for s in subnets])
        encoding = Encoding(space)
        surrogate = Surrogate(encoding, encoding.encode(subnets), quality)
        np.testing.assert_allclose(surrogate.scores(subnets), quality, atol=0.01)

    def test_what_is_solved_for_it_is_the_second_batch(self, tmp_path: Path) -> None:
        space = staged()
        picks = [space.sample(random.Random(i)) for i in range(100, 105)]
        asked: list[str] = []

        def solve(surrogate: Surrogate) -> list[Subnet]:
            asked.append(surrogate.source)
            return [space.largest(), *picks, picks[0]]

        result = run(space, method="nsga2", solve=solve, state=tmp_path / "s.db")
        assert asked == ["additive surrogate of 20 evaluated subnets"]
        assert [s.spec for s in result.subnets[20:25]] == [s.spec for s in picks]
        assert len(result.subnets) == 80
        assert found(run(space, method="nsga2", solve=solve, state=tmp_path / "s.db")) == found(
            result
        )
        assert len(asked) == 1


class TestErrors:
    def test_budgets_that_nothing_meets(self) -> None:
        space = staged()
        least = SummedCosts(space).cost(space.smallest()).p50_ms
        with pytest.raises(Infeasible, match=r"no subnet that meets p50 <= .* was found") as caught:
            run(space, limits=[p50_limit(least * 0.9)])
        assert caught.value.exit_code == 3

    def test_names_and_numbers(self) -> None:
        space = staged()
        for given in ({"method": "annealing"}, {"objectives": ["speed"]}):
            with pytest.raises(UnknownName):
                run(space, **given)
        for given in (
            {"objectives": []},
            {"objectives": ["p50", "p50"]},
            {"evaluations": 0},
            {"population": 1},
            {"jobs": 0},
        ):
            with pytest.raises(UsageError):
                run(space, **given)

    def test_a_table_is_no_quality_to_search_with(self) -> None:
        space = staged()

        class Table(Balanced):
            def rated(self) -> Any:
                return [space.smallest()]

        with pytest.raises(UsageError, match="rates 1 subnets and no others"):
            run(space, quality=Table(space))

    def test_a_quality_that_is_no_number(self) -> None:
        space = staged()

        class Broken(Balanced):
            def value(self, subnet: Subnet) -> float:
                return float("nan")

        with pytest.raises(UsageError, match="balance gives nan for"):
            run(space, quality=Broken(space))

    def test_a_cost_that_is_not_known(self) -> None:
        space = staged()

        class Unknown(SummedCosts):
            def cost(self, subnet: Subnet) -> Cost:
                known = super().cost(subnet)
                return Cost(known.p50_ms, known.p95_ms, float("nan"), 0)

        with pytest.raises(TableError, match="memory is not known of"):
            run(space, costs=Unknown(space), limits=[p50_limit(1e9, "memory")])

    def test_a_state_of_other_costs_is_refused(self, tmp_path: Path) -> None:
        space = staged()
        run(space, method="random", state=tmp_path / "s.db")
        with pytest.raises(UsageError, match="of another search: costs"):
            run(
                space,
                method="random",
                state=tmp_path / "s.db",
                costs=AdditiveSummedCosts(space, seed=1),
            )

    @pytest.mark.parametrize("package", ["pymoo", "sklearn"])
    def test_a_missing_extra_is_named(self, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtra) as caught:
            run(staged(), method="linas")
        assert "hwnas[search]" in caught.value.fix
