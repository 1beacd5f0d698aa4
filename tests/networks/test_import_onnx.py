"""A user's ONNX file as a workload: the module's own layers, and one clear line for whatever is wrong with the file."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from own_networks import NETWORKS, build, save_onnx

from coevo.errors import SpecError
from coevo.networks.importing import import_network
from coevo.networks.importing.lowering import lower
from coevo.networks.importing.onnx_file import read_onnx
from coevo.networks.importing.torch_module import read_module

FLOAT = TensorProto.FLOAT


def weights(name, *shape, kind=np.float32):
    return numpy_helper.from_array(np.ones(shape, dtype=kind), name)


def value(name, shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model_of(nodes, shape, initializers=(), *, outputs=("y",), inputs=None, domains=(), opset=17):
    graph = helper.make_graph(
        nodes, "net", inputs or [value("x", shape)], [helper.make_empty_tensor_value_info(name) for name in outputs],
        list(initializers),
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


@pytest.fixture
def save(tmp_path):
    """Saves a model; returns its path."""

    def write(model, name="net.onnx"):
        file = tmp_path / name
        file.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return file

    return write


@pytest.fixture
def layers(save):
    """The layers of a model of these nodes."""

    def read(nodes, shape, initializers=(), ignored=(), **how):
        return lower(read_onnx(save(model_of(nodes, shape, initializers, **how)), (), ignored)).layers

    return read


def test_one_node_of_each_kind(layers):
    nodes = [
        helper.make_node(
            "Conv", ["x", "w", "b"], ["a"], "conv", pads=[1, 0, 2, 1], strides=[2, 1], dilations=[1, 2], group=2
        ),
        helper.make_node("Relu", ["a"], ["r"], "relu"),
        helper.make_node("MaxPool", ["r"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["p"], ["g"], "mean"),
        helper.make_node("Flatten", ["g"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "v", "c"], ["l"], "fc", transB=1),
        helper.make_node("Softmax", ["l"], ["y"], "soft"),
    ]
    made = layers(
        nodes, ["N", 4, 11, 12], [weights("w", 6, 2, 3, 3), weights("b", 6), weights("v", 5, 6), weights("c", 5)]
    )
    conv, pool, mean, fc, soft = made
    assert (conv.name, conv.kind, conv.bounds) == ("conv", "conv", (1, 2, 3, 2, 6, 9, 3, 3))
    assert (conv.stride, conv.dilation, conv.parameters) == ((2, 1), (1, 2), 6 * 18 + 6)
    assert (pool.kind, pool.bounds, pool.stride) == ("pool", (1, 6, 1, 1, 3, 4, 2, 2), (2, 2))
    assert (mean.kind, mean.bounds) == ("pool", (1, 6, 1, 1, 1, 1, 3, 4))
    assert (fc.kind, fc.bounds, fc.parameters) == ("linear", (1, 1, 5, 6, 1, 1, 1, 1), 35)
    assert (soft.kind, soft.bounds) == ("softmax", (1, 5, 1, 3, 1, 1, 1, 1))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_gives_the_same_layers_as_the_module_that_it_was_exported_from(name, tmp_path):
    network, given = build(name)
    save_onnx(network, given, tmp_path / "net.onnx")
    read = lower(read_onnx(tmp_path / "net.onnx"))
    own = lower(read_module(network, "net", [given]))
    assert [(x.kind, x.shape_key, x.parameters) for x in read.layers] == [
        (x.kind, x.shape_key, x.parameters) for x in own.layers
    ]


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ([2, 3, 5, 4], [2, 3, 4, 7], (6, 7, 4, 5)),
        ([2, 3, 5, 4], [4, 7], (1, 7, 4, 30)),  # one second operand for all: rows
        ([2, 1, 5, 4], [2, 3, 4, 7], (2, 21, 4, 5)),  # one first operand for several second ones: columns
        ([4], [3, 4, 7], (1, 21, 4, 1)),
        ([5, 4], [4], (1, 1, 4, 5)),
    ],
)
def test_a_product_of_activations_counts_batches_rows_and_columns(layers, first, second, wanted):
    node = helper.make_node("MatMul", ["x", "z"], ["y"], "product")
    (layer,) = layers([node], None, inputs=[value("x", first), value("z", second)])
    assert (layer.g, layer.m, layer.c, layer.p) == wanted
    assert (layer.kind, layer.parameters) == ("matmul", 0)


def test_known_weights_on_the_left_take_the_place_of_the_weights(layers):
    node = helper.make_node("MatMul", ["w", "x"], ["y"], "product")
    (layer,) = layers([node], [4, 7], [weights("w", 5, 4)])
    assert (layer.kind, layer.m, layer.c, layer.p, layer.parameters) == ("linear", 5, 4, 7, 20)


def test_gelu_written_with_erf_is_applied_on_the_way(layers):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "fc"),
        helper.make_node("Add", ["a", "b"], ["l"]),
        helper.make_node("Div", ["l", "root"], ["d"]),
        helper.make_node("Erf", ["d"], ["e"]),
        helper.make_node("Add", ["e", "one"], ["f"]),
        helper.make_node("Mul", ["l", "f"], ["m"]),
        helper.make_node("Mul", ["m", "half"], ["y"]),
    ]
    constants = [weights(name) for name in ("root", "one", "half")]
    (layer,) = layers(nodes, [1, 5, 4], [weights("w", 4, 8), weights("b", 8), *constants])
    assert (layer.kind, layer.p, layer.parameters) == ("linear", 5, 40)


def test_shapes_that_the_file_computes_are_worked_out(layers):
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Mul", ["n", "two"], ["m"]),
        helper.make_node("Div", ["m", "two"], ["d"]),
        helper.make_node("Unsqueeze", ["d", "axes"], ["u"]),
        helper.make_node("Concat", ["u", "rest"], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"], "fc"),
    ]
    known = [numpy_helper.from_array(np.array(v, dtype=np.int64), k) for k, v in
             (("zero", 0), ("two", 2), ("axes", [0]), ("rest", [-1]))]  # fmt: skip
    (layer,) = layers(nodes, ["N", 3, 4], [*known, weights("w", 12, 5)])
    assert (layer.m, layer.c, layer.p) == (5, 12, 1)


def test_quantised_weights_are_parameters_and_their_scales_are_not(layers):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["a"]),
        helper.make_node("DequantizeLinear", ["w", "t", "u"], ["v"], axis=0),
        helper.make_node("Conv", ["a", "v"], ["y"], "conv"),
    ]
    known = [weights("s"), weights("z", kind=np.int8), weights("w", 6, 3, 1, 1, kind=np.int8), weights("t", 6),
             weights("u", 6, kind=np.int8)]  # fmt: skip
    made = layers(nodes, [1, 3, 8, 8], known)
    assert [layer.kind for layer in made] == ["activation", "conv"]
    assert made[1].parameters == 18


def test_weights_need_not_be_read_but_must_be_there(tmp_path):
    network, given = build("medley")
    save_onnx(network, given, tmp_path / "whole.onnx")
    model = onnx.load(tmp_path / "whole.onnx")
    onnx.save(model, str(tmp_path / "net.onnx"), save_as_external_data=True, location="net.data", size_threshold=64)
    inside, outside = read_onnx(tmp_path / "whole.onnx"), read_onnx(tmp_path / "net.onnx")
    assert [x.shape_key for x in lower(outside).layers] == [x.shape_key for x in lower(inside).layers]
    data = (tmp_path / "net.data").read_bytes()
    (tmp_path / "net.data").write_bytes(data[:100])
    with pytest.raises(SpecError, match=r"its weights end at byte [0-9,]+ of 'net\.data', which has 100"):
        read_onnx(tmp_path / "net.onnx")
    (tmp_path / "net.data").unlink()
    with pytest.raises(SpecError, match=r"net\.onnx: .+: its weights stand in 'net\.data', which is missing; put that"):
        read_onnx(tmp_path / "net.onnx")


def test_weights_outside_the_files_folder_are_refused(save):
    tensor = weights("w", 4, 4)
    onnx.external_data_helper.set_external_data(tensor, "../secret")
    tensor.ClearField("raw_data")
    file = save(model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], [1, 4], [tensor]))
    with pytest.raises(SpecError, match="must be a file beside it"):
        read_onnx(file)


def test_an_open_batch_is_one_and_other_open_sizes_are_asked_for(save):
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "fc")
    file = save(model_of([node], ["N", "tokens", 4], [weights("w", 4, 6)]))
    with pytest.raises(SpecError, match=r"x: input size 'tokens' is open; give it with --input TOKENSx4"):
        import_network(str(file))
    (layer,) = import_network(str(file), "7x4").layers
    assert (layer.p, layer.c, layer.m) == (7, 4, 6)
    with pytest.raises(
        SpecError, match=r"--input: the file's input 'x' is TOKENSx4 \(without batch\), --input says 7x5"
    ):
        import_network(str(file), "7x5")
    with pytest.raises(SpecError, match="gives 2 inputs, the network has 1"):
        import_network(str(file), "7x4,3")


CONV = helper.make_node("Conv", ["x", "w"], ["a"], "conv")
KERNEL = weights("w", 3, 3, 1, 1)


@pytest.mark.parametrize(
    ("node", "domains", "named"),
    [
        (helper.make_node("Mystery", ["a"], ["y"], "here", domain="com.acme"), ["com.acme"],
         "operator Mystery of com.acme is not understood"),
        (helper.make_node("NonZero", ["a"], ["y"], "here"), [], "NonZero"),
        (helper.make_node("Det", ["a"], ["y"], "here"), [], "operator Det is not understood"),
    ],
)  # fmt: skip
def test_an_operator_that_is_not_understood_is_named_with_its_node_and_can_be_ignored(layers, node, domains, named):
    with pytest.raises(SpecError, match=rf"net\.onnx: here: .*{named}"):
        layers([CONV, node], [1, 3, 4, 4], [KERNEL], domains=domains)
    if node.op_type != "NonZero":  # whose shape is not known before it runs
        made = layers([CONV, node], [1, 3, 4, 4], [KERNEL], domains=domains, ignored=[node.op_type])
        assert [layer.kind for layer in made] == ["conv"]


def test_control_flow_is_refused(layers):
    branch = helper.make_graph([helper.make_node("Neg", ["a"], ["n"])], "branch", [], [value("n", [1, 3, 4, 4])])
    node = helper.make_node("If", ["c"], ["y"], "here", then_branch=branch, else_branch=branch)
    with pytest.raises(SpecError, match="here: operator If holds graphs of its own"):
        layers([CONV, node], [1, 3, 4, 4], [KERNEL, weights("c", kind=np.bool_)])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no network"),
        (b"not a network at all" * 50, "is not an ONNX model, or damaged"),
        (b"\x08\x07\x3a\xff\xff", "is not an ONNX model, or damaged"),
        (model_of([], [1, 3]), "holds no network"),
        (model_of([CONV], [1, 4, 5, 5], [KERNEL], outputs=["a"]), "conv: Conv is not .* 1x4x5x5 does not fit"),
        (model_of([CONV], [1, 3, 5, 5], outputs=["a"]), "conv: its input 'w' comes from nowhere"),
        (model_of([helper.make_node("Conv", ["x"], ["a"], "c")], [1, 3, 5, 5], outputs=["a"]), "c: "),
        (model_of([CONV], [1, 3, 2**40, 5], [KERNEL], outputs=["a"]), "input size 1099511627776 is too large"),
        (model_of([CONV], [1, 3, 5, 5], [KERNEL], outputs=["b"]), "b: no node makes this output"),
        (model_of([CONV], [1, 3, 5, 5], [TensorProto(name="w", dims=[3, 3, 1, 1], data_type=1, raw_data=b"few")]),
         "is damaged"),
        (model_of([CONV], [1, 3, 0, 5], [KERNEL], outputs=["a"]), "input size 'axis 2' is open"),
        (model_of([helper.make_node("Slice", ["x", "z", "z"], ["y"])], [4, 3], [weights("z", 2, kind=np.int64)]),
         "is empty"),
        (model_of([helper.make_node("Identity", ["x"], ["y"])], [1, 3]), "computes nothing that costs"),
        (model_of([helper.make_node("Einsum", ["x", "x"], ["y"], "e")], [3, 3]), "e: "),
    ],
)  # fmt: skip
def test_a_damaged_file_is_said_in_one_line(save, content, said):
    with pytest.raises(SpecError, match=said) as caught:
        import_network(str(save(content)))
    assert "net.onnx" in str(caught.value) and "\n" not in str(caught.value)


def test_a_truncated_export_is_said_in_one_line(save, tmp_path):
    network, given = build("medley")
    save_onnx(network, given, tmp_path / "whole.onnx")
    whole = (tmp_path / "whole.onnx").read_bytes()
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(SpecError):
            import_network(str(save(whole[: int(len(whole) * share)])))


def test_a_file_larger_than_onnx_can_be_is_not_read(tmp_path):
    file = tmp_path / "net.onnx"
    with file.open("wb") as sparse:
        sparse.truncate(2**31)
    with pytest.raises(SpecError, match="more than an ONNX file can hold"):
        read_onnx(file)


def test_an_absent_file_and_a_folder_are_said(tmp_path):
    with pytest.raises(SpecError, match=r"no\.onnx: there is no such file"):
        read_onnx(tmp_path / "no.onnx")
    with pytest.raises(SpecError, match="is not a file"):
        read_onnx(tmp_path)
