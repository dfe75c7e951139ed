"""The published suites, run over the built-in plug-ins and over a stranger's."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.profile import Profiler, Target, load_profiler, load_target
from hwnas.testing.conformance import ProfilerConformance, TargetConformance
from tests.support.plugins import example_plugins  # noqa: F401 - a fixture


class TestOnnxRuntime(ProfilerConformance):
    @pytest.fixture
    def profiler(self) -> Profiler:
        return load_profiler("onnxruntime")


class TestNull(ProfilerConformance):
    @pytest.fixture
    def profiler(self, example_plugins: Path) -> Profiler:  # noqa: F811
        return load_profiler("null")


class TestCpu(TargetConformance):
    @pytest.fixture
    def target(self) -> Target:
        return load_target("cpu")


class TestNice(TargetConformance):
    @pytest.fixture
    def target(self, example_plugins: Path) -> Target:  # noqa: F811
        return load_target("nicely")

    @pytest.fixture
    def profiler(self, example_plugins: Path) -> str:  # noqa: F811
        return "null"
