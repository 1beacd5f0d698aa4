"""What each kind of file holds. A writer takes a `Chosen` and returns contents by file name; it writes nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import numpy as np

from coevo.errors import RunError
from coevo.export.chosen import Chosen, Trained
from coevo.report.export import accelerator_yaml, design_yaml, mapping_yaml

Files = Mapping[str, str | bytes]
"""Contents by file name."""

WEIGHTS = "weights.safetensors"

_IMAGES = 64
"""Images that an ONNX model is checked on."""


def design_files(chosen: Chosen) -> Files:
    """Returns the design file, as the run's report has it."""
    return {"design.yaml": design_yaml(chosen.design, chosen.results.name)}


def accelerator_files(chosen: Chosen) -> Files:
    """Returns the machine as an accelerator file, or one for each of several targets."""
    machines = chosen.design.design.machines.items()
    return {f"{_of('accelerator', label)}.yaml": accelerator_yaml(x, chosen.title) for label, x in machines}


def mapping_files(chosen: Chosen) -> Files:
    """Returns every layer's mapping, or a file of them for each of several targets."""
    costs = zip(chosen.design.design.machines, chosen.design.costs, strict=True)
    return {f"{_of('mapping', label)}.yaml": mapping_yaml(cost, chosen.title) for label, cost in costs}


def weights_files(chosen: Chosen) -> Files:
    """Returns the weights, under the names that the file of torch has where there is one."""
    from safetensors.torch import save

    from coevo.networks.exporting.torch_source import torch_tensors

    trained = chosen.trained
    if trained.graph is None:
        tensors = {name: tensor.contiguous() for name, tensor in trained.module.state_dict().items()}
    else:
        tensors = torch_tensors(trained.graph, trained.module)
    return {WEIGHTS: save(tensors, {"design": chosen.id, "weights": trained.says})}


def torch_files(chosen: Chosen) -> Files:
    """Returns the network as a file of torch, and its weights."""
    from coevo.networks.exporting.torch_source import torch_source

    trained = chosen.trained
    graph = trained.described
    mean, std = _normalisation(trained)
    says = textwrap.fill(f"Made by coevo; needs torch alone. {_says(trained)}", 110)
    about = f"{chosen.title}: {graph.name}.\n\n{says}"
    return {"model.py": torch_source(graph, about, mean, std), **weights_files(chosen)}


def onnx_files(chosen: Chosen) -> Files:
    """Returns the network as an ONNX model that computes what torch does.

    Raises:
        BackendError: A package is missing, or the two differ.
        RunError: A node has no form in ONNX.
    """
    from coevo.networks.exporting.agreement import difference
    from coevo.networks.exporting.onnx_model import onnx_model

    trained = chosen.trained
    graph = trained.described
    mean, std = _normalisation(trained)
    facts = {
        "design": chosen.id,
        "weights": trained.says,
        "mean": ", ".join(map(repr, mean)),
        "std": ", ".join(map(repr, std)),
    }
    try:
        model = onnx_model(graph, trained.module, facts)
    except ValueError as error:
        raise RunError(f"{error}; take --to torch") from None
    images = np.random.default_rng(0).standard_normal((_IMAGES, *graph.input), dtype=np.float32)
    difference(trained.module, model, images, rounded=any(getattr(node, "bits", None) for node in graph.nodes))
    return {"model.onnx": model}


def _normalisation(trained: Trained) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel; 0 and 1, which change nothing, where no data were seen."""
    channels = trained.described.input[0]
    return trained.mean or (0.0,) * channels, trained.std or (1.0,) * channels


def _says(trained: Trained) -> str:
    return f"{trained.says[0].upper()}{trained.says[1:]}."


def _of(stem: str, label: str) -> str:
    """Stem of a file's name, of one target of several if it has a label."""
    return f"{stem}-{label}" if label else stem
