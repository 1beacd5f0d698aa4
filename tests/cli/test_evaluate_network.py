"""``coevo evaluate --network`` on a network of the user's own: figures for all its layers, one line for a mistake."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from coevo.cli import main

MINE = """\
from torch import nn

def make_net():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(8, 10), nn.Softmax(1))

net = make_net()
number = 3

def fails():
    raise KeyError("mine")

def wants(argument):
    return argument

def returns_nothing():
    pass
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the user's files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "broken.py").write_text("import nothing_of_this_name")
    conv = helper.make_node("Conv", ["x", "w"], ["a"], "conv", pads=[1, 1, 1, 1])
    nodes = [conv, helper.make_node("Mystery", ["a"], ["y"], "here", domain="com.acme")]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.ones((8, 3, 3, 3), dtype=np.float32), "w")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    return tmp_path


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "--accelerator", "eyeriss", *arguments])
    out, err = capsys.readouterr()
    return stop.value.code, out, err


@pytest.mark.parametrize("name", ["mine.py:make_net", "mine.py:net"])
def test_a_module_of_the_users_is_scored_layer_by_layer_and_nothing_costs_nothing(here, capsys, name):
    code, out, err = run(capsys, "--network", name, "--input", "3x16x16", "--json")
    assert code == 0, err
    data = json.loads(out)
    assert [layer["kind"] for layer in data["layers"]] == ["conv", "pool", "linear", "softmax"]
    assert data["macs"] == 8 * 27 * 256 + 80
    assert data["parameters"] == 8 * 27 + 8 + 16 + 90
    assert all(layer["cycles"] > 0 and layer["energy_uj"] > 0 for layer in data["layers"])


def test_an_onnx_file_is_scored_and_an_unknown_operator_is_refused_until_it_is_ignored(here, capsys):
    code, _, err = run(capsys, "--network", "net.onnx")
    assert code == 2
    assert "net.onnx: here: operator Mystery of com.acme is not understood" in err and "--ignore-unknown Mystery" in err
    code, out, err = run(capsys, "--network", "net.onnx", "--ignore-unknown", "Mystery", "--json")
    assert code == 0, err
    assert json.loads(out)["macs"] == 8 * 27 * 64


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mine.py:make_net"], "--input: mine.py:make_net needs the shape of its input, such as --input 3x224x224"),
        (["mine.py", "--input", "3x8x8"], "mine.py: name the network in it, such as mine.py:make_net"),
        (["mine.py:make_nett", "--input", "3x8x8"], "did you mean 'make_net'?"),
        (["nowhere.py:make_net", "--input", "3x8x8"], "there is no file nowhere.py"),
        (["broken.py:make_net", "--input", "3x8x8"], "broken.py: fails on import: ModuleNotFoundError"),
        (["mine.py:fails", "--input", "3x8x8"], "fails when called without arguments: KeyError in line 11"),
        (["mine.py:wants", "--input", "3x8x8"], "fails when called without arguments: TypeError"),
        (["mine.py:number", "--input", "3x8x8"], "must be an nn.Module or a function that returns one, got int"),
        (["mine.py:returns_nothing", "--input", "3x8x8"], "must return an nn.Module, returned NoneType"),
        (["mine.py:make_net", "--input", "4x8x8"], "cannot run on an input of 1x4x8x8"),
        (["mine.py:make_net", "--input", "3x0x8"], "--input: must read SIZExSIZE"),
        (["mine.py:make_net", "--input", "3x8x8:int7"], "--input: must read SIZExSIZE"),
        (["mine.py:make_net", "--input", "3x99999x99999"], "--input: 3x99999x99999 has more than"),
        (["mine.py:make_net", "--input", "3x8x8", "--classes", "3"], "--classes: means nothing to mine.py:make_net"),
        (["net.onnx", "--gene", "a=1"], "--gene: means nothing to net.onnx"),
        (["absent.onnx"], "absent.onnx: there is no such file"),
        (["digits_mbconv", "--input", "1x8x8", "--ignore-unknown", "X"], "--ignore-unknown: is for networks of"),
    ],
)  # fmt: skip
def test_a_mistake_is_said_in_one_line(here, capsys, arguments, said):
    code, _, err = run(capsys, "--network", *arguments)
    assert code == 2
    assert said in err and err.startswith("error: ") and err.count("\n") == 1, err
