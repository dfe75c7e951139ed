import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwnas.bundle import Bundle
from hwnas.errors import HwnasError, NewerSchema, UsageError
from hwnas.select import default_cache, open_quality
from hwnas.space import Subnet
from tests.support.bundles import make_bundle

CALLS = """
from pathlib import Path

def rate(subnet, bundle):
    with (Path(__file__).parent / "calls.txt").open("a") as log:
        log.write(subnet.name + "\\n")
    return len(subnet.choices) + bundle.weight_bytes(subnet) / 1e9
"""


@pytest.fixture(autouse=True)
def _clean_imports() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "net.hwnas", depth=2, widths=(4, 8))


def _subnets(bundle: Bundle) -> list[Subnet]:
    return list(bundle.manifest.space.subnets())


def _write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("q.csv", "subnet,quality\nd1-h4,0.5\nd2-h8,0.75\n"),
        ("q.csv", "\ufeffquality, subnet ,note\r\n0.5,d1-h4,small\r\n\r\n0.75, d2-h8\r\n"),
        ("q.csv", 'note,subnet,quality\n"two\nlines",d1-h4,5e-1\n,max,.75\n'),
        ("q.CSV", "subnet,quality\nd1-h4,0.5\nd2-h8,0.75"),
        ("q.json", '{"d1-h4": 0.5, "d2-h8": 0.75}'),
        ("q.json", '[{"subnet": "d1-h4", "quality": 0.5, "by": {"who": [1]}},'
                   ' {"quality": 0.75, "subnet": "max"}]'),
    ],
)  # fmt: skip
def test_a_table_is_read(tmp_path: Path, bundle: Bundle, name: str, text: str) -> None:
    quality = open_quality(_write(tmp_path / name, text), bundle)
    rated = quality.rated()
    assert rated is not None
    assert [subnet.name for subnet in rated] == ["d1-h4", "d2-h8"]
    assert quality.scores(rated) == [0.5, 0.75]
    assert quality.scores(rated[::-1]) == [0.75, 0.5]
    assert quality.source == f"measured table {name}"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("q.csv", "subnet,quality\nd1-h4,0.5\nd9-h4,1\n", "line 3: unknown subnet 'd9-h4'"),
        ("q.csv", "subnet,quality\nd1-h4,1\n\nd1-h4,1\n", "line 4: d1-h4 was rated before"),
        ("q.csv", "subnet,quality\nd2-h8,1\nmax,1\n", "line 3: max was rated before, in line 2"),
        ("q.csv", "subnet,quality\nd1-h4,good\n", "line 2: the quality of d1-h4 is 'good', not"),
        ("q.csv", "subnet,quality\nd1-h4,97%\n", "line 2: the quality of d1-h4 is '97%', not"),
        ("q.csv", "subnet,quality\nd1-h4,nan\n", "line 2: the quality of d1-h4 is nan"),
        ("q.csv", "subnet,quality\nd1-h4,-inf\n", "line 2: the quality of d1-h4 is -inf"),
        ("q.csv", "subnet,quality\nd1-h4,1e200\n", "line 2: the quality of d1-h4 is 1e+200"),
        ("q.csv", "subnet,quality\nd1-h4,\n", "line 2: the quality of d1-h4 is missing"),
        ("q.csv", "subnet,quality\nd1-h4\n", "line 2: the quality of d1-h4 is missing"),
        ("q.csv", "subnet,quality\n,0.5\n", "line 2: there is no subnet"),
        ("q.csv", 'subnet,quality\nd1-h4,"0.5\n', "line 2: not valid CSV"),
        ("q.csv", "subnet;quality\nd1-h4;1\n", "no column 'subnet'; its first line is"),
        ("q.csv", "subnet,accuracy\nd1-h4,1\n", "no column 'quality'"),
        ("q.csv", "subnet,quality,quality\nd1-h4,1,2\n", "2 columns 'quality'"),
        ("q.csv", "", "is empty"),
        ("q.csv", "\n\n", "is empty"),
        ("q.csv", "subnet,quality\n", "rates no subnet"),
        ("q.json", "{}", "rates no subnet"),
        ("q.json", '{"d1-h4": 0.5, "d9-h4": 1}', "entry 2: unknown subnet 'd9-h4'"),
        ("q.json", '{"d1-h4": 0.5, "d1-h4": 1}', "entry 2: d1-h4 was rated before, in entry 1"),
        ("q.json", '{"d1-h4": "0.5"}', "the quality of d1-h4 is '0.5', not a number"),
        ("q.json", '{"d1-h4": true}', "the quality of d1-h4 is True, not a number"),
        ("q.json", '{"d1-h4": null}', "the quality of d1-h4 is missing"),
        ("q.json", '{"d1-h4": NaN}', "the quality of d1-h4 is nan"),
        ("q.json", '{"d1-h4": 1e999}', "the quality of d1-h4 is inf"),
        ("q.json", '{"d1-h4": 1' + "0" * 400 + "}", "not a number"),
        ("q.json", '[{"name": "d1-h4", "quality": 1}]', "entry 1: there is no subnet"),
        ("q.json", '[["d1-h4", 1]]', "holds neither an object nor a list of objects"),
        ("q.json", "0.5", "holds neither an object nor a list of objects"),
        ("q.json", '{"d1-h4": 0.5', "is not valid JSON"),
        ("q.json", "[" * 100_000, "is not valid JSON"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_named(
    tmp_path: Path, bundle: Bundle, name: str, text: str, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        open_quality(_write(tmp_path / name, text), bundle)
    assert said in caught.value.cause
    assert caught.value.fix


def test_an_unknown_subnet_comes_with_the_closest(tmp_path: Path, bundle: Bundle) -> None:
    with pytest.raises(UsageError) as caught:
        open_quality(_write(tmp_path / "q.csv", "subnet,quality\nd1-h5,1\n"), bundle)
    assert "did you mean 'd1-h" in caught.value.fix


def test_what_cannot_be_read_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*none\.csv"):
        open_quality(str(tmp_path / "none.csv"), bundle)
    (tmp_path / "q.csv").write_bytes(b"subnet,quality\nd1-h4,\xff\n")
    with pytest.raises(UsageError, match="is not UTF-8"):
        open_quality(str(tmp_path / "q.csv"), bundle)
    with pytest.raises(UsageError, match="'accuracy' is not a quality"):
        open_quality("accuracy", bundle)


def test_a_function_of_a_file_is_called_once_per_subnet(tmp_path: Path, bundle: Bundle) -> None:
    reference = _write(tmp_path / "rating.py", CALLS) + ":rate"
    seen: list[tuple[str, int, int]] = []
    subnets = _subnets(bundle)
    quality = open_quality(reference, bundle, tmp_path / "cache" / "q.db")
    assert quality.rated() is None
    assert quality.source == "function rating.py:rate"
    first = quality.scores(subnets, lambda *event: seen.append(event))
    assert first == [len(s.choices) + bundle.weight_bytes(s) / 1e9 for s in subnets]
    assert seen == [("quality", i, 4) for i in (1, 2, 3, 4)]
    assert quality.scores(subnets[:2]) == first[:2]

    again = open_quality(reference, bundle, tmp_path / "cache" / "q.db")
    assert again.scores(subnets) == first
    assert (tmp_path / "calls.txt").read_text().split() == [s.name for s in subnets]


def test_results_are_not_used_for_other_weights_or_another_source(
    tmp_path: Path, bundle: Bundle
) -> None:
    cache, calls = tmp_path / "q.db", tmp_path / "calls.txt"
    reference = _write(tmp_path / "rating.py", CALLS) + ":rate"
    subnet = _subnets(bundle)[:1]
    open_quality(reference, bundle, cache).scores(subnet)
    other = make_bundle(tmp_path / "other.hwnas", depth=2, widths=(4, 8), seed=1)
    open_quality(reference, other, cache).scores(subnet)
    assert len(calls.read_text().split()) == 2
    _write(tmp_path / "rating.py", CALLS.replace("1e9", "2e9"))
    changed = open_quality(reference, bundle, cache).scores(subnet)
    assert len(calls.read_text().split()) == 3
    assert changed == [3 + bundle.weight_bytes(subnet[0]) / 2e9]


def test_what_was_evaluated_before_a_crash_is_kept(tmp_path: Path, bundle: Bundle) -> None:
    cache = tmp_path / "q.db"
    breaks = "    if subnet.name == 'd2-h4': raise ValueError('no such data')"
    text = CALLS.replace("    return", f"{breaks}\n    return")
    reference = _write(tmp_path / "rating.py", text) + ":rate"
    with pytest.raises(HwnasError) as caught:
        open_quality(reference, bundle, cache).scores(_subnets(bundle))
    line = text.splitlines().index(breaks)
    assert f"rating.py:{line + 1}: ValueError: no such data" in caught.value.cause
    assert "rating.py:rate on d2-h4 fails at" in caught.value.cause
    with pytest.raises(HwnasError):
        open_quality(reference, bundle, cache).scores(_subnets(bundle))
    assert (tmp_path / "calls.txt").read_text().split() == ["d1-h4", "d1-h8", "d2-h4", "d2-h4"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return float('nan')", "returned nan for d1-h4"),
        ("return float('inf')", "returned inf for d1-h4"),
        ("return -1e200", "returned -1e.200 for d1-h4"),
        ("return None", "returned a NoneType for d1-h4"),
        ("return True", "returned a bool for d1-h4"),
        ("return '0.5'", "returned a str for d1-h4"),
        ("return [0.5]", "returned a list for d1-h4"),
        ("return 10 ** 400", "returned a int for d1-h4"),
    ],
)
def test_a_function_must_return_a_finite_number(
    tmp_path: Path, bundle: Bundle, body: str, said: str
) -> None:
    reference = _write(tmp_path / "rating.py", f"def rate(subnet, bundle):\n    {body}\n") + ":rate"
    with pytest.raises(UsageError, match=said):
        open_quality(reference, bundle, tmp_path / "q.db").scores(_subnets(bundle)[:1])
    with sqlite3.connect(tmp_path / "q.db") as kept:
        assert kept.execute("SELECT count(*) FROM quality").fetchone() == (0,)
    kept.close()


def test_a_numpy_number_will_do(tmp_path: Path, bundle: Bundle) -> None:
    text = "import numpy\ndef rate(subnet, bundle):\n    return numpy.float32(0.5)\n"
    quality = open_quality(_write(tmp_path / "rating.py", text) + ":rate", bundle)
    assert quality.scores(_subnets(bundle)[:1]) == [0.5]


def test_a_function_may_import_its_neighbours_when_it_is_called(
    tmp_path: Path, bundle: Bundle
) -> None:
    _write(tmp_path / "neighbour_of_rating.py", "VALUE = 0.25\n")
    text = "def rate(subnet, bundle):\n    import neighbour_of_rating as n\n    return n.VALUE\n"
    quality = open_quality(_write(tmp_path / "rating.py", text) + ":rate", bundle)
    assert quality.scores(_subnets(bundle)[:1]) == [0.25]


def test_a_function_of_a_module(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "rating_module.py", "def rate(subnet, bundle):\n    return 0.5\n")
    monkeypatch.chdir(tmp_path)
    quality = open_quality("rating_module:rate", bundle)
    assert quality.scores(_subnets(bundle)[:1]) == [0.5]
    assert quality.source == "function rating_module:rate"


@pytest.mark.parametrize(
    ("text", "reference", "said"),
    [
        ("", "none.py:rate", "there is no file none.py"),
        ("", "no.such.module:rate", "there is no module 'no'"),
        ("", "not a module:rate", "'not a module' is not the name of a module"),
        ("", "..up:rate", "is not the name of a module"),
        ("", ":rate", "':rate' does not name a function"),
        ("", "rating.py:", "'rating.py:' does not name a function"),
        ("def rating(): pass", "rating.py:rate", "unknown function in rating.py: 'rate'"),
        ("rate = 0.5", "rating.py:rate", "is a float, no function"),
        ("import no_such_thing", "rating.py:rate", "rating.py:1: ModuleNotFoundError"),
        ("\n1/0", "rating.py:rate", "rating.py:2: ZeroDivisionError"),
        ("def rate(:", "rating.py:rate", "rating.py:1: SyntaxError"),
        ("import sys; sys.exit(3)", "rating.py:rate", "rating.py:1: SystemExit: 3"),
    ],
)
def test_a_function_that_cannot_be_had_is_explained(
    tmp_path: Path,
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    reference: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "rating.py", text)
    with pytest.raises(HwnasError) as caught:
        open_quality(reference, bundle)
    assert said in caught.value.cause
    assert caught.value.fix


def test_a_cache_that_is_something_else_is_left_alone(tmp_path: Path, bundle: Bundle) -> None:
    reference = _write(tmp_path / "rating.py", CALLS) + ":rate"

    def scores(cache: Path) -> list[float]:
        return open_quality(reference, bundle, cache).scores(_subnets(bundle)[:1])

    text = tmp_path / "text.db"
    text.write_bytes(b"not a database, but long enough to be looked at" * 20)
    with pytest.raises(HwnasError, match=r"text\.db cannot be used"):
        scores(text)
    foreign = sqlite3.connect(tmp_path / "foreign.db")
    foreign.execute("CREATE TABLE theirs (a)")
    foreign.close()
    before = (tmp_path / "foreign.db").read_bytes()
    with pytest.raises(HwnasError, match="another kind of SQLite file"):
        scores(tmp_path / "foreign.db")
    assert (tmp_path / "foreign.db").read_bytes() == before
    scores(tmp_path / "newer.db")
    newer = sqlite3.connect(tmp_path / "newer.db")
    newer.execute("PRAGMA user_version = 9")
    newer.close()
    with pytest.raises(NewerSchema, match="schema_version 9"):
        scores(tmp_path / "newer.db")
    with pytest.raises(HwnasError, match="cannot be used"):
        scores(tmp_path)


def test_the_cache_lies_beside_the_bundle(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = bundle.path.resolve().parent / "net.hwnas.quality.db"
    assert default_cache(bundle) == beside
    monkeypatch.chdir(bundle.path)
    assert default_cache(Bundle.open(".", verify=False)) == beside
