from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from coevo.errors import SpecError
from coevo.library import list_data
from coevo.networks import build_family, load_space
from coevo.protocols import Task
from coevo.space import Space

SMALL = """\
schema: 1
name: small
description: A space
family: mbconv
stem: {width: 8}
stages:
  - depth: [1, 2]
    width: [8, 16]
    kernel: [3, 5]
"""
DIGITS, CIFAR = Task(channels=1, resolution=8, classes=10), Task(channels=3, resolution=32, classes=10)


def written(folder: Path, text: str) -> str:
    file = folder / "small.yaml"
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize("name", list_data("spaces"))
def test_every_shipped_space_loads_and_its_extremes_run(name: str) -> None:
    space = load_space(name)
    assert space.name == name
    task = DIGITS if name.startswith("digits") else CIFAR
    family = build_family(space, task)
    genes = Space(family.genes)
    for genome in (0 * genes.cardinalities, genes.cardinalities - 1):
        module = family.module(genes.decode(genome))
        assert module(torch.zeros(2, task.channels, task.resolution, task.resolution)).shape == (2, task.classes)


def test_shipped_spaces_are_as_large_as_they_say() -> None:
    sizes = {name: Space(build_family(load_space(name), CIFAR).genes).size for name in list_data("spaces")}
    assert sizes == {
        "cifar10_mbconv": 6_718_464,
        "cifar10_mbconv_bits": 6_718_464 * 6**3,
        "cifar10_mbconv_layerwise": 119_602_469_376,
        "cifar10_vit": 2 * 2 * 4 * (9**4 + 9**5 + 9**6 + 9**7 + 9**8),
        "digits_bits": 1_152 * 16,
        "digits_mbconv": 186_624,
        "digits_sizing": 5_184,
        "digits_vit": 2 * 2 * 4 * 3 * 3 * 3,
        "fbnet": 9**22,
        "nasbench201": 15_625,
    }


def test_the_sizing_space_searches_widths_and_depths_alone() -> None:
    genes = build_family(load_space("digits_sizing"), DIGITS).genes
    assert {gene.name.rpartition(".")[2] for gene in genes} == {"width", "depth"}


def test_the_layerwise_space_has_the_hierarchical_ones_choices() -> None:
    stagewise, layerwise = (load_space(f"cifar10_mbconv{kind}").settings for kind in ("", "_layerwise"))
    assert stagewise.model_copy(update={"granularity": "block"}) == layerwise


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("schema: 1\n", "", "small.yaml:1: schema: is missing"),
        ("schema: 1", "schema: 2", "small.yaml:1: schema: 2 is not known; this coevo reads schema 1"),
        ("description: A space", "description: 7", "small.yaml:3: description: must be text, got 7"),
        ("family: mbconv", "family: mbcon", "small.yaml:4: family: no networks plug-in named 'mbcon' .*mean 'mbconv'"),
        ("stem: {width: 8}", "stem: {with: 8}", "small.yaml:5: stem.with: unknown key .*did you mean 'width'"),
        ("stem: {width: 8}", "stem: {}", "small.yaml:5: stem.width: is missing"),
        ("stem: {width: 8}", "", "small.yaml:1: stem: is missing"),
        ("width: [8, 16]", "width: []", r"small.yaml:8: stages.0.width: the list is empty"),
        ("width: [8, 16]", "width: [8, 16, 8]", r"small.yaml:8: stages.0.width: the choice 8 stands 2 times"),
        ("width: [8, 16]", "width: [8, -16]", r"small.yaml:8: stages.0.width.1: .*greater than or equal to 1, got -16"),
        ("width: [8, 16]", "width: 0", r"small.yaml:8: stages.0.width: .*greater than or equal to 1, got 0"),
        ("width: [8, 16]", "width: [8, 16 channels]", r"small.yaml:8: stages.0.width.1: must be a plain number"),
        ("width: [8, 16]", "width: 8.5", r"small.yaml:8: stages.0.width: .*integer, got 8.5"),
        ("width: [8, 16]", "width: true", r"small.yaml:8: stages.0.width: .*integer, got True"),
        ("width: [8, 16]", "width: {from: 8}", r"small.yaml:8: stages.0.width: must be a value or a list of choices"),
        ("width: [8, 16]", "width:", r"small.yaml:8: stages.0.width: must be a value or a list of choices, got None"),
        ("depth: [1, 2]", "depth: [0, 2]", r"small.yaml:7: stages.0.depth.0: .*greater than or equal to 1, got 0"),
        ("kernel: [3, 5]", "kernel: [3, 4]", r"small.yaml:9: stages.0.kernel.1: a kernel must be odd .*got 4"),
        (
            "kernel: [3, 5]",
            "operator: [mbconv, sep]",
            r"small.yaml:9: stages.0.operator.1: .*'mbconv' or 'fused'.*'sep'",
        ),
        ("kernel: [3, 5]", "kernel: 3\n    kernel: 5", "small.yaml:10: stages.0.kernel: stands twice"),
        ("kernel: [3, 5]", "stride: [1, 16]", r"small.yaml:9: stages.0.stride.1: .*less than or equal to 8, got 16"),
        ("stem:", "granularity: layer\nstem:", "small.yaml:5: granularity: .*'stage' or 'block'.*'layer'"),
        ("stem:", "head: 7\nstem:", "small.yaml:5: head: .*dictionary"),
        ("family: mbconv", "family: cell", "small.yaml:5: stem: unknown key .*channels"),
    ],
)
def test_a_mistake_names_file_line_field_value_and_cure(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in SMALL
    with pytest.raises(SpecError, match=complaint) as caught:
        load_space(written(tmp_path, SMALL.replace(old, new)))
    assert "\n" not in str(caught.value)


def test_a_space_without_stages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"small\.yaml:6: stages: must be a list of at least one stage"):
        load_space(written(tmp_path, SMALL.partition("stages:")[0] + "stages: []\n"))


def test_a_space_too_deep_for_its_task_names_the_line_of_the_stride(tmp_path: Path) -> None:
    space = load_space(written(tmp_path, SMALL + "    stride: 4\n  - depth: 1\n    width: 8\n    stride: 4\n"))
    assert build_family(space, CIFAR).genes
    with pytest.raises(SpecError, match=r"small\.yaml:13: stages\.1\.stride: a stride of 4 shrinks a map of 2 pixel"):
        build_family(space, DIGITS)


def test_a_cell_on_a_map_that_does_not_halve_names_the_file(tmp_path: Path) -> None:
    text = "schema: 1\nname: c\ndescription: d\nfamily: cell\nchannels: 4\ncells: 1\n"
    with pytest.raises(SpecError, match=r"small\.yaml:4: family: .*multiple of 4 pixels, got 30"):
        build_family(load_space(written(tmp_path, text)), Task(channels=3, resolution=30, classes=10))


def test_a_user_may_bring_a_family_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from coevo.networks.mbconv import MBConv\n\n\nclass Mine(MBConv):\n    '''My own.'''\n"
    )
    space = load_space(written(tmp_path, SMALL.replace("family: mbconv", "family: mine.py:Mine")))
    assert type(build_family(space, DIGITS)).__name__ == "Mine"


def test_genes_and_workloads_need_no_torch() -> None:
    program = (
        "import sys\n"
        "from coevo.networks import build_family, load_space\n"
        "from coevo.protocols import Task\n"
        "from coevo.space import Space\n"
        "for name in ('digits_mbconv', 'nasbench201', 'digits_vit'):\n"
        "    family = build_family(load_space(name), Task(3, 32, 10))\n"
        "    space = Space(family.genes)\n"
        "    family.workload(space.decode(0 * space.cardinalities))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
