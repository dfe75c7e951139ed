"""The whole path of a once-for-all network, on the command line: its subnets cannot be listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.cli.main import main

NETS = Path(__file__).parents[1] / "data" / "ofa_nets.py"
SIDES = (32, 48)


def test_from_a_network_to_a_bench(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def run(*words: object, code: int = 0) -> Any:
        found = main([str(word) for word in (*words, "--format", "json")])
        said = capfd.readouterr()
        assert found == code, said.err
        return json.loads(said.out)

    net, lut, scores, plan = (tmp_path / n for n in ("net.hwnas", "l.db", "s.csv", "plan.json"))
    sides = ",".join(map(str, SIDES))
    compiled = run("compile", f"{NETS}:large", "--resolution", sides, "-o", net, "--jobs", "2")
    assert compiled["subnets"] == 2 * (4 + 16) ** 4
    run("profile", net, "-o", lut, "--ci", "50", "--calibrate", "2", "--check", "0")

    # Deeper, wider and larger is better, kernels of 5 more so than width.
    rows = ["r=32,0", "r=48,2"]
    for stage in range(4):
        for i in range(2):
            for kernel, expand in ((3, 3), (3, 4), (5, 3), (5, 4)):
                score = 1 + 0.1 * stage + 0.3 * (kernel == 5) + 0.2 * (expand == 4)
                rows.append(f"stage{stage}.{i}/k{kernel}e{expand},{score:.2f}")
    scores.write_text("\n".join(["block,score", "constant,70", *rows]) + "\n")
    select = ("select", net, "--lut", lut, "--quality", scores, "-o", plan, "--explain")
    budgets = ("--max-latency", "p50=85%", "--max-bytes", "90%", "--max-macs", "80%")
    found = run(*select, *budgets)
    assert found["quality_kind"] == "additive scores" and found["method"] == "exact"
    (tier,) = found["tiers"]
    assert "320,000" in tier["proof"] and "measured to fit" in tier["proof"]
    limits = {limit["metric"]: limit["limit"] for limit in tier["limits"]}
    (chosen,) = found["subnets"]
    cost = chosen["measured"]
    assert set(limits) == {"p50", "bytes", "macs"}
    assert cost["p50_ms"] <= limits["p50"]
    assert cost["weight_bytes"] <= limits["bytes"] and cost["macs"] <= limits["macs"]
    assert found["explanations"] and len(found["front"]) > 2

    nothing = run(*select, "--max-macs", "1k", code=3)
    assert nothing["infeasible"]["binding"] == ["macs"]
    assert plan.exists()  # the plan that was there is still there

    rng = np.random.default_rng(0)
    images = rng.normal(size=(8, 3, SIDES[1], SIDES[1])).astype(np.float32)
    np.savez(tmp_path / "images.npz", image=images)
    norms, out = tmp_path / "norms.safetensors", tmp_path / "out"
    data = ("--data", tmp_path / "images.npz", "--supernet", f"{NETS}:large")
    run("recalibrate", net, "--plan", plan, *data, "-o", norms)
    smallest = ("--subnet", "min")
    shipped = ("export", net, "--plan", plan, *smallest, "--norms", norms, "--finalise", "-o", out)
    exported = run(*shipped, "--verify", "onnx")
    assert len(exported["subnets"]) == 2
    assert max(record["max_abs_diff"] for record in exported["verified"]) < 1e-4
    ran = run("run", out, "--subnet", chosen["name"])
    assert ran["outputs"]["logits"]["shape"] == [1, 5]
    benched = run("bench", out, "--seconds", "0", "--replicates", "1", "--processes", "1")
    assert {s["max_abs_diff"] for s in benched["subnets"].values()} == {0.0}
