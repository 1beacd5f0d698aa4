"""Whether what was written computes what the module computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from coevo.errors import BackendError
from coevo.networks.exporting.onnx_model import IMAGES

if TYPE_CHECKING:
    from torch import nn

TOLERANCE = 1e-4
"""Largest difference of logits, over the largest logit where that is above 1: what float32 sums differ by."""

TIES = 1 / 16
"""Share of the images that may differ by more if values are rounded: torch multiplies by the inverse of a step where
ONNX divides by it, so that a value right between two steps may be rounded to either."""


def run_onnx(model: bytes, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the logits ``(batch, class)`` of an ONNX model by ONNX Runtime, computed as the file says.

    Raises:
        BackendError: The package onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError("checking ONNX needs the package onnxruntime: pip install 'coevo[onnx]'") from error
    options = onnxruntime.SessionOptions()
    # Fused integer kernels sum otherwise: what they give is the runtime's business, this is the file's.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {IMAGES: images})
    return np.asarray(logits, dtype=np.float32)


def difference(module: nn.Module, model: bytes, images: NDArray[np.float32], rounded: bool) -> float:
    """Returns by how much an ONNX model's logits differ from a module's, in units that `TOLERANCE` has.

    Args:
        module: In evaluation mode.
        model: The ONNX model.
        images: ``(batch, channel, height, width)``, normalised.
        rounded: Whether the module has bit widths: images at a tie (`TIES`) are then left out of what is returned.

    Raises:
        BackendError: As `run_onnx`, or the difference is above the tolerance.
    """
    with torch.no_grad():
        expected = module(torch.from_numpy(images)).cpu().numpy()
    by_image = np.abs(run_onnx(model, images) - expected).max(axis=1) / max(1.0, float(np.abs(expected).max()))
    ties = int(TIES * len(images)) if rounded else 0
    worst = float(np.sort(by_image)[len(images) - 1 - ties])
    if not worst <= TOLERANCE:
        raise BackendError(f"the ONNX model's logits differ from torch's by {worst:.2g}, more than {TOLERANCE:g}")
    return float(by_image[by_image <= TOLERANCE].max())
