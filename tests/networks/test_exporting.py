"""What is written of a network computes what its module computes, and costs what its workload costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from coevo.errors import BackendError
from coevo.networks import build_family, load_space
from coevo.networks.exporting.agreement import TOLERANCE, difference, run_onnx
from coevo.networks.exporting.onnx_model import onnx_model
from coevo.networks.exporting.torch_source import torch_source, torch_tensors
from coevo.networks.graph import INPUT, Add, Conv, GlobalPool, Graph, Linear, Norm, Pool, Zeros
from coevo.networks.importing import import_network
from coevo.networks.lowering import lower
from coevo.networks.modules import GraphModule
from coevo.networks.quantised import calibrate
from coevo.protocols import Task
from coevo.space import Space

DIGITS = Task(channels=1, resolution=8, classes=10)
SPACES = [("digits_mbconv", 3), ("digits_bits", 4), ("nasbench201", 1), ("digits_vit", 4)]
EVERY_NODE = Graph(
    "all",
    (2, 19, 19),
    (
        Conv("stem", INPUT, 12, kernel=3, stride=2, affine="bias", after="relu"),
        Conv("a.grouped", "stem", 24, kernel=5, groups=4, after="relu6"),
        Conv("a.dilated", "a.grouped", 24, kernel=3, dilation=2, groups=24, before="relu", shuffle=4),
        Conv("a.class", "a.dilated", 24, affine="none"),
        Zeros("zeros", "a.class"),
        Add("add", ("a.class", "a.grouped", "zeros")),
        Norm("norm", "add", after="relu"),
        Pool("max", "norm", "max", kernel=3, stride=2),
        Pool("avg", "max", "avg", kernel=3, stride=2),
        Linear("features", "avg", 6),
        Conv("a_class", "features", 4, kernel=3),
        GlobalPool("lambda", "a_class"),
        Linear("classifier", "lambda", 3),
    ),
)


def seen(graph: Graph, module: GraphModule) -> GraphModule:
    """The module with statistics and ranges of its own, in evaluation."""
    rng = torch.Generator().manual_seed(0)
    batches = [torch.randn(16, *graph.input, generator=rng) for _ in range(3)]
    for batch in batches:
        module.train()(batch)
    calibrate(module, batches)
    return module.eval()


def networks(space: str, count: int):
    family = build_family(load_space(space), DIGITS)
    genes = Space(family.genes)
    for genome in genes.sample(np.random.default_rng(0), count):
        graph = family.graph(genes.decode(genome))
        torch.manual_seed(0)
        yield graph, seen(graph, GraphModule(graph))


def images(graph: Graph, count: int = 32):
    return np.random.default_rng(1).standard_normal((count, *graph.input), dtype=np.float32)


def written(graph: Graph, module: GraphModule, folder: Path) -> ModuleType:
    """The file of torch, run, with its weights beside it."""
    text = torch_source(graph, "A network", (0.5,) * graph.input[0], (2.0,) * graph.input[0])
    (folder / "model.py").write_text(text)
    save_file(torch_tensors(graph, module), folder / "weights.safetensors")
    found = ModuleType("model")
    found.__file__ = str(folder / "model.py")
    exec(compile(text, found.__file__, "exec"), found.__dict__)
    return found


@pytest.mark.parametrize(("space", "count"), SPACES)
def test_both_forms_give_the_modules_logits(space, count, tmp_path):
    for graph, module in networks(space, count):
        given = images(graph)
        assert difference(module, onnx_model(graph, module, {}), given, rounded=space.endswith("bits")) < TOLERANCE
        with torch.no_grad():
            again = written(graph, module, tmp_path).load()(torch.from_numpy(given))
            assert torch.equal(again, module(torch.from_numpy(given)))


def test_every_kind_of_node_is_written(tmp_path):
    torch.manual_seed(0)
    module = seen(EVERY_NODE, GraphModule(EVERY_NODE))
    given = images(EVERY_NODE)
    difference(module, onnx_model(EVERY_NODE, module, {}), given, rounded=False)
    with torch.no_grad():
        again = written(EVERY_NODE, module, tmp_path).load()(torch.from_numpy(given))
        assert torch.equal(again, module(torch.from_numpy(given)))


@pytest.mark.parametrize(("space", "count"), SPACES[:1])
def test_the_onnx_model_has_the_workloads_layers(space, count, tmp_path):
    for graph, module in networks(space, count):
        (tmp_path / "model.onnx").write_bytes(onnx_model(graph, module, {}))
        again, own = import_network(str(tmp_path / "model.onnx")), lower(graph)
        assert [layer.shape_key for layer in again.layers] == [layer.shape_key for layer in own.layers]
        assert again.parameters == own.parameters


def test_bit_widths_stand_in_the_onnx_model_as_integers():
    import onnx

    family = build_family(load_space("digits_bits"), DIGITS)
    genes = Space(family.genes)
    choices = genes.decode(0 * genes.cardinalities) | {"bits.weights": 4, "bits.activations": 3}
    graph = family.graph(choices)
    model = onnx.load_from_string(onnx_model(graph, seen(graph, GraphModule(graph)), {}))
    constants = {x.name: onnx.numpy_helper.to_array(x) for x in model.graph.initializer}
    stem = constants["stem.conv.weight.integers"]
    assert stem.dtype == np.int8 and np.abs(stem).max() <= 7 and len(np.unique(stem)) > 4
    read = next(node for node in model.graph.node if node.name == "stored3.stem.integers")
    low, high = constants["stored3.stem.low"], constants["stored3.stem.high"]
    assert read.op_type == "QuantizeLinear" and (high - low) / constants["stored3.stem.step"] == pytest.approx(7)


def test_another_networks_logits_are_refused():
    ((graph, module),), ((_, other),) = networks("digits_mbconv", 1), networks("digits_mbconv", 1)
    model = onnx_model(graph, module, {"design": "d"})
    with torch.no_grad():
        other.get_submodule("head.linear").get_submodule("1").bias[3] += 0.01
    with pytest.raises(BackendError, match=r"differ from torch's by 0\.01"):
        difference(other, model, images(graph), rounded=False)


def test_the_onnx_model_takes_any_batch():
    ((graph, module),) = networks("digits_mbconv", 1)
    model = onnx_model(graph, module, {})
    assert [run_onnx(model, images(graph, count)).shape for count in (1, 5)] == [(1, 10), (5, 10)]


def test_the_file_of_torch_needs_no_coevo_and_resizes_and_normalises(tmp_path):
    ((graph, module),) = networks("digits_mbconv", 1)
    written(graph, module, tmp_path)
    program = """\
import sys
for name in ("coevo", "safetensors"):
    sys.modules[name] = None
import torch, model
network = model.load()
torch.save((network(torch.ones(2, 1, 12, 12)), model.normalised(torch.ones(1, 1, 8, 8))), "out.pt")
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""})
    logits, normalised = torch.load(tmp_path / "out.pt")
    with torch.no_grad():
        assert torch.allclose(logits, module(torch.ones(2, 1, 12, 12)), rtol=0, atol=1e-6)
    assert torch.equal(normalised, torch.full((1, 1, 8, 8), 0.25))


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_missing_package_is_one_line_that_says_what_to_install(missing, monkeypatch):
    ((graph, module),) = networks("digits_mbconv", 1)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(BackendError, match=rf"needs the package {missing}: pip install 'coevo\[onnx\]'"):
        difference(module, onnx_model(graph, module, {}), images(graph), rounded=False)
