"""A job made ready for a device: all that it names is there, and equal jobs are the same job."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from hwnas.agent.expected import compare
from hwnas.agent.inputs import make_inputs
from hwnas.agent.job import Document, verify
from hwnas.agent.protocol import Job, Tensor
from hwnas.agent.settings import Settings
from hwnas.errors import BundleError, UnsafePath
from hwnas.profile.package import Package, make_package, reference_outputs
from hwnas.testing.conformance import example_job
from tests.support.measuring import unpack

SETTINGS = Settings(seed=3)


def content(package: Package, sha256: str) -> bytes:
    found = package.blobs[sha256]
    return found if isinstance(found, bytes) else found.read_bytes()


def test_all_that_the_document_names_is_there(tmp_path: Path) -> None:
    package = make_package([example_job(tmp_path)], "onnxruntime", SETTINGS)
    document = Document.decode(package.document)
    assert package.id == hashlib.sha256(package.document).hexdigest()
    assert (document.profiler, document.settings) == ("onnxruntime", SETTINGS)
    for sha256 in package.blobs:
        assert hashlib.sha256(content(package, sha256)).hexdigest() == sha256
    assert package.data == {"weights.bin": document.data["weights.bin"].sha256}
    assert {document.items[0].model.sha256, *package.data.values()} == set(package.blobs)


def test_unpacked_it_verifies(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    package = make_package([example_job(tmp_path / "bundle")], "onnxruntime", SETTINGS)
    job, blobs = unpack(package, tmp_path / "device")
    verify(Document.decode((job / "job.json").read_bytes()), blobs, job / "data")


def test_equal_jobs_are_one_job_wherever_they_lie(tmp_path: Path) -> None:
    packages = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        jobs = [example_job(tmp_path / name), example_job(tmp_path / name, rows=2)]
        packages.append(make_package(jobs, "onnxruntime", SETTINGS, reference_outputs))
    assert packages[0].document == packages[1].document
    other = make_package([example_job(tmp_path / "one")], "onnxruntime", SETTINGS)
    assert other.id != packages[0].id
    seeded = make_package([example_job(tmp_path / "one")], "onnxruntime", Settings(seed=4))
    assert seeded.id != other.id


def test_a_file_of_many_models_is_there_once(tmp_path: Path) -> None:
    jobs = [example_job(tmp_path, rows=rows) for rows in (1, 2, 3)]
    package = make_package(jobs, "onnxruntime", SETTINGS)
    assert len(package.blobs) == 4
    assert package.blobs[package.data["weights.bin"]] == tmp_path / "weights.bin"


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    jobs = [example_job(folder) for folder in folders]
    (folders[1] / "weights.bin").write_bytes(b"\0" * 256)
    with pytest.raises(BundleError, match="two files are called weights"):
        make_package(jobs, "onnxruntime", SETTINGS)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    job = example_job(tmp_path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(BundleError, match=r"weights\.bin cannot be read: No such file"):
        make_package([job], "onnxruntime", SETTINGS)


@pytest.mark.parametrize("name", ["../weights.bin", "/etc/hostname", "a/b", ".hidden", ""])
def test_a_file_outside_the_bundle_is_never_read(tmp_path: Path, name: str) -> None:
    job = example_job(tmp_path)
    model = onnx.load_model_from_string(job.model)
    model.graph.initializer[0].external_data[0].value = name
    with pytest.raises(UnsafePath, match="names the file"):
        make_package([replace(job, model=model.SerializeToString())], "onnxruntime", SETTINGS)


class TestExpected:
    def test_is_what_the_model_computes(self, tmp_path: Path) -> None:
        job = example_job(tmp_path)
        package = make_package([job], "onnxruntime", SETTINGS, reference_outputs)
        [expected] = Document.decode(package.document).items[0].expected
        x = make_inputs(job.inputs, SETTINGS.seed)["x"]
        w = np.fromfile(tmp_path / "weights.bin", np.float32).reshape(8, 8)
        assert (expected.name, expected.shape) == ("y", (4, 8))
        assert compare([expected], {"y": x @ w})[1]
        assert not compare([expected], {"y": x @ w * np.float32(1.01)})[1]

    def test_none_where_nobody_computes(self, tmp_path: Path) -> None:
        package = make_package([example_job(tmp_path)], "onnxruntime", SETTINGS)
        assert Document.decode(package.document).items[0].expected == ()

    @pytest.mark.parametrize("model", [b"\0not a model", b""])
    def test_none_of_what_cannot_be_run_here(self, tmp_path: Path, model: bytes) -> None:
        job = replace(example_job(tmp_path), model=model)
        package = make_package([job], "onnxruntime", SETTINGS, reference_outputs)
        document = Document.decode(package.document)
        assert document.items[0].expected == () and document.data == {}

    def test_none_where_computing_fails(self, tmp_path: Path) -> None:
        def fails(job: Job, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
            raise RuntimeError("no")

        package = make_package([example_job(tmp_path)], "onnxruntime", SETTINGS, fails)
        assert Document.decode(package.document).items[0].expected == ()

    def test_outputs_of_other_types_are_left_out(self, tmp_path: Path) -> None:
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
        outputs = [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [2]),
            helper.make_tensor_value_info("s", TensorProto.STRING, [2]),
        ]
        nodes = [
            helper.make_node("Neg", ["x"], ["y"]),
            helper.make_node("Cast", ["x"], ["s"], to=TensorProto.STRING),
        ]
        graph = helper.make_graph(nodes, "g", [x], outputs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        inputs = (Tensor("x", "float32", (2,)),)
        job = Job("k", "block", "l", model.SerializeToString(), tmp_path, inputs)
        package = make_package([job], "onnxruntime", SETTINGS, reference_outputs)
        assert [e.name for e in Document.decode(package.document).items[0].expected] == ["y"]
