import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hwnas.select.pareto import pareto_front

small = st.integers(0, 6).map(float)


def brute(points: np.ndarray) -> list[int]:
    def beaten(i: int) -> bool:
        for j, other in enumerate(points):
            if np.all(other <= points[i]) and (np.any(other < points[i]) or j < i):
                return True
        return False

    return [i for i in range(len(points)) if not beaten(i)]


@given(
    st.integers(1, 4).flatmap(
        lambda m: arrays(float, st.tuples(st.integers(0, 25), st.just(m)), elements=small)
    )
)
@settings(deadline=None, max_examples=200)
def test_the_front_is_what_nothing_beats(points: np.ndarray) -> None:
    assert pareto_front(points) == brute(points)


def test_many_points_in_two_metrics() -> None:
    points = np.random.default_rng(0).random((100_000, 2))
    front = points[pareto_front(points)]
    by_first = front[np.argsort(front[:, 0])]
    assert np.all(np.diff(by_first[:, 1]) < 0)
    assert not np.any(np.all(points[:, None] < front[None, :5], axis=2))
