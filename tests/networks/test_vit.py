"""Transformers: the counts of published models, the genes, and what they compute."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from coevo.errors import SpecError
from coevo.networks import build_family, load_space
from coevo.networks.exporting.agreement import difference
from coevo.networks.exporting.onnx_model import onnx_model
from coevo.networks.exporting.torch_source import torch_tensors
from coevo.networks.graph import INPUT, Conv, Graph
from coevo.networks.importing import import_network
from coevo.networks.lowering import lower
from coevo.networks.modules import GraphModule
from coevo.networks.narrow import narrowed
from coevo.networks.quantised import calibrate
from coevo.networks.sequence import Mix, Scores, Tokens
from coevo.networks.vit import ViT, ViTSettings
from coevo.protocols import Task
from coevo.space import Space

IMAGENET, DIGITS = Task(3, 224, 1000), Task(1, 8, 10)
SMALL: dict[str, Any] = {"patch": 2, "width": 16, "depth": 2, "heads": 2, "head_width": 8, "mlp_ratio": 2}


def small(**changes: Any) -> ViT:
    return ViT(ViTSettings(**{**SMALL, **changes}), DIGITS)


# timm (github.com/huggingface/pytorch-image-models, results/benchmark-infer-amp-nchw-pt240-cu124-rtx4090.csv, column
# infer_gmacs) counts 5 MACs for each word of a layer norm, as fvcore does; torchvision's documentation of
# ViT_B_16_Weights (17.56, 86567656 parameters) counts none.
@pytest.mark.parametrize(
    ("name", "width", "heads", "gmacs", "norms", "parameters"),
    [
        ("deit_tiny_patch16_224", 192, 3, 1.26, True, 5_717_416),
        ("deit_small_patch16_224", 384, 6, 4.61, True, 22_050_664),
        ("vit_base_patch16_224", 768, 12, 17.58, True, 86_567_656),
        ("torchvision vit_b_16", 768, 12, 17.56, False, 86_567_656),
    ],
)
def test_published_models_have_their_published_counts(name, width, heads, gmacs, norms, parameters):
    family = ViT(ViTSettings(patch=16, width=width, depth=12, heads=heads), IMAGENET)
    workload = family.workload({})
    words = 197 * width * (2 * 12 + 1) if norms else 0
    assert (workload.macs + 5 * words) / 1e9 == pytest.approx(gmacs, abs=0.005)
    assert workload.parameters == parameters
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        module = family.module({})
        module(torch.zeros(1, 3, 224, 224))
    assert counter.get_total_flops() == 2 * workload.macs
    assert sum(p.numel() for p in module.parameters()) == parameters


def test_attention_is_two_products_of_activations_per_head():
    layers = {layer.name: layer for layer in small().workload({}).layers}
    scores, mix = layers["block1.scores"], layers["block1.mix"]
    assert (scores.kind, scores.g, scores.m, scores.c, scores.p) == ("matmul", 2, 17, 8, 17)
    assert (mix.kind, mix.g, mix.m, mix.c, mix.p) == ("matmul", 2, 8, 17, 17)
    assert scores.has_weights and not scores.parameters and not mix.parameters
    softmax = layers["block1.softmax"]
    assert (softmax.kind, softmax.g, softmax.c, softmax.p, softmax.q) == ("softmax", 2, 3, 17, 17)


def test_a_block_computes_what_torchs_encoder_layer_does():
    torch.manual_seed(0)
    family = small(depth=1, output="mean")
    module = family.module({}).eval()
    layer = nn.TransformerEncoderLayer(
        16, 2, 32, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    ).eval()
    own = {name.removeprefix("block1."): value for name, value in module.state_dict().items()}
    attention = layer.self_attn
    with torch.no_grad():
        for target, name in (
            (attention.out_proj, "project.conv"),
            (layer.linear1, "expand.conv"),
            (layer.linear2, "reduce.conv"),
            (layer.norm1, "norm1.norm"),
            (layer.norm2, "norm2.norm"),
        ):
            target.weight.copy_(own[f"{name}.weight"].reshape(target.weight.shape))
            target.bias.copy_(own[f"{name}.bias"])
        for kind in ("weight", "bias"):
            parts = [own[f"{x}.conv.{kind}"].flatten(1) if kind == "weight" else own[f"{x}.conv.{kind}"]
                     for x in ("query", "key", "value")]  # fmt: skip
            getattr(attention, f"in_proj_{kind}").copy_(torch.cat(parts))
        seen = {}
        for name in ("tokens", "block1.add2"):
            module.get_submodule(name).register_forward_hook(lambda m, i, o, name=name: seen.update({name: o}))
        module(torch.randn(3, 1, 8, 8))
        given, made = (seen[name].squeeze(3).transpose(1, 2) for name in ("tokens", "block1.add2"))
        assert torch.allclose(layer(given), made, atol=1e-5)


def test_genes_are_autoformers_and_hang_on_the_depth_that_includes_their_block():
    family = small(width=[16, 24], depth=[1, 2], heads=[1, 2], mlp_ratio=[2, 3.5], granularity="block")
    genes = {gene.name: gene for gene in family.genes}
    assert list(genes) == ["width", "depth", "block1.heads", "block1.mlp_ratio", "block2.heads", "block2.mlp_ratio"]
    assert (genes["block1.heads"].parent, genes["block2.heads"].parent, genes["block2.heads"].when) == (
        None,
        "depth",
        (2,),
    )
    assert genes["block2.mlp_ratio"].choices == (2.0, 3.5) and genes["block2.mlp_ratio"].ordered
    one = {"width": 24, "depth": 1, "block1.heads": 1, "block1.mlp_ratio": 3.5}
    layers = {layer.name: layer for layer in family.workload(one).layers}
    assert layers["block1.expand"].m == 84 and layers["block1.query"].m == 8 and "block2.query" not in layers
    with pytest.raises(ValueError, match=r"no value for block2\.heads"):
        family.graph({**one, "depth": 2})


def test_a_convolutional_stem_halves_until_a_pixel_is_a_patch():
    graph = small(patch=4, stem="conv").graph({})
    shapes = [graph.shapes[name] for name in ("stem.conv1", "stem.conv2", "stem.project", "tokens")]
    assert shapes == [(8, 4, 4), (16, 2, 2), (16, 2, 2), (16, 5, 1)]


def test_patches_do_not_overlap_and_leave_nothing_out():
    family = small(patch=4, depth=1, output="mean")
    module = family.module({}).eval()
    image = torch.zeros(1, 1, 8, 8)
    stem = module.get_submodule("stem")
    with torch.no_grad():
        blank = stem(image)
        for row, column in ((0, 0), (3, 4), (7, 7)):
            changed = image.clone()
            changed[0, 0, row, column] = 1
            different = (stem(changed) != blank).any(1)[0].nonzero().tolist()
            assert different == [[row // 4, column // 4]]


def test_it_is_deployed_for_other_images_and_classes():
    workload = small().workload({}, Task(3, 16, 5))
    layers = {layer.name: layer for layer in workload.layers}
    assert layers["block1.scores"].p == 65 and layers["head.linear"].m == 5 and layers["stem"].c == 3


@pytest.mark.parametrize("output", ["mean", "class_token"])
def test_narrower_networks_still_compute(output):
    graph = narrowed(small(output=output, heads=4, head_width=3).graph({}), 0.5)
    assert graph.shapes["block1.scores"][0] == 3, "4 heads do not divide 6 channels"
    assert graph.shapes["block1.mix"][0] == 6
    assert GraphModule(graph)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert lower(graph).macs < small(output=output).workload({}).macs


def test_bit_widths_reach_both_products_and_the_onnx_model():
    family = small(bits={"weights": 4, "activations": 8, "per": "network"})
    graph = family.graph({})
    layers = {layer.name: layer for layer in lower(graph).layers}
    assert layers["block1.query"].bits == (4, 8, None)
    assert layers["block1.scores"].bits == layers["block1.mix"].bits == (8, 8, None)
    torch.manual_seed(0)
    module = GraphModule(graph)
    batches = [torch.randn(16, 1, 8, 8) for _ in range(2)]
    calibrate(module, batches)
    images = np.random.default_rng(0).standard_normal((32, 1, 8, 8), dtype=np.float32)
    difference(module.eval(), onnx_model(graph, module, {}), images, rounded=True)
    weights = torch_tensors(graph, module)["block1_query.conv.weight"]
    assert len(weights[0].unique()) <= 15


@pytest.mark.parametrize("output", ["mean", "class_token"])
def test_the_onnx_model_has_the_workloads_products_and_passes(output, tmp_path):
    family = small(output=output)
    graph = family.graph({})
    (tmp_path / "vit.onnx").write_bytes(onnx_model(graph, family.module({}).eval(), {}))
    again, own = import_network(str(tmp_path / "vit.onnx")), lower(graph)
    assert again.macs == own.macs and again.parameters == own.parameters
    moved = [layer for layer in again.layers if layer.kind == "move"]  # the class token is put before the others
    assert len(moved) == (output == "class_token")
    read = {
        re.sub(r"\.(products?|sums)$", "", x.name): (x.operations, x.follows) for x in again.layers if x not in moved
    }
    assert read == {layer.name: (layer.operations, layer.follows) for layer in own.layers}
    assert not read["tokens"][1], "positions do not come from the layer before"


def test_a_convolution_of_tokens_that_mixes_them_has_no_form_in_onnx():
    nodes = (*small(depth=1, output="mean").graph({}).nodes[:2], Conv("odd", "tokens", 16, kernel=3, affine="bias"))
    graph = Graph("odd", (1, 8, 8), nodes)
    with pytest.raises(ValueError, match="node odd: Conv of tokens has no form"):
        onnx_model(graph, GraphModule(graph), {})


def test_heads_that_do_not_divide_and_maps_that_do_not_fit_are_refused():
    stem = Conv("stem", INPUT, 6)
    with pytest.raises(ValueError, match="6 and 6 channels of queries and keys make no 4 heads"):
        Graph("g", (1, 2, 2), (stem, Tokens("t", "stem", False), Scores("s", ("t", "t"), 4)))
    with pytest.raises(ValueError, match="do not fit maps"):
        Graph("g", (1, 2, 2), (stem, Tokens("t", "stem", False), Scores("s", ("t", "t"), 3), Mix("m", ("s", "stem"))))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"patch": [2, 3], "stem": ["patch", "conv"]}, "patch must be 2, 4, 8, ..., got 3"),
        ({"bits": {"weights": 4, "activations": 8, "per": "stage"}}, "a transformer has no stages"),
        ({"heads": 0}, "greater than or equal to 1"),
        ({"mlp_ratio": -1}, "greater than 0"),
        ({"output": "max"}, "'class_token' or 'mean'"),
    ],
)
def test_settings_that_make_no_network_are_refused(changes, complaint):
    with pytest.raises(ValidationError, match=complaint):
        small(**changes)


def test_patches_that_leave_a_rest_name_the_line(tmp_path: Path):
    text = "schema: 1\nname: v\ndescription: d\nfamily: vit\nwidth: 8\npatch: [2, 3]\ndepth: 1\nheads: 1\n"
    (tmp_path / "v.yaml").write_text(text)
    with pytest.raises(SpecError, match=r"v\.yaml:6: patch: patches of 3 pixels do not divide an image of 8x8"):
        build_family(load_space(str(tmp_path / "v.yaml")), DIGITS)


@pytest.mark.slow
def test_a_few_steps_lower_the_loss_on_digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.tensor(data.images[:256], dtype=torch.float32).unsqueeze(1) / 8 - 1
    labels = torch.tensor(data.target[:256])
    torch.manual_seed(0)
    module = build_family(load_space("digits_vit"), DIGITS).module(
        {"patch": 2, "stem": "patch", "width": 32, "depth": 2, "heads": 2, "mlp_ratio": 2.0}
    )
    optimizer = torch.optim.AdamW(module.parameters(), lr=8e-3)
    losses = []
    for _ in range(40):
        loss = nn.functional.cross_entropy(module(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_genomes_without_order_are_none_but_the_stem():
    genes = Space(build_family(load_space("cifar10_vit"), Task(3, 32, 10)).genes).genes
    assert [gene.name for gene in genes if not gene.ordered] == ["stem"]
