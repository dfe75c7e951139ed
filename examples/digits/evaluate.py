"""Accuracy of one compiled subnet: a quality function for ``hwnas select``.

hwnas select net.hwnas ... --quality examples/digits/evaluate.py:accuracy
"""

from __future__ import annotations

import os

import numpy as np
from data import heldout

from hwnas.bundle import Bundle
from hwnas.link import whole
from hwnas.space import Subnet

# ONNX Runtime sends telemetry unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

__all__ = ["accuracy"]


def accuracy(subnet: Subnet, bundle: Bundle) -> float:
    """Share of the held-out images that ``subnet`` of ``bundle`` recognises, from 0 to 1.

    The network must take one image at a time, as compiled from ``model.py:supernet``.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(bundle.path)
    )
    session = ort.InferenceSession(
        whole(bundle, subnet).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    images, labels = heldout()
    logits = [session.run(["logits"], {"image": image[None]})[0][0] for image in images]
    return float((np.argmax(logits, axis=1) == labels).mean())
