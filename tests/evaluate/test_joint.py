from __future__ import annotations

import numpy as np
import pytest
from codesign_fakes import Family

from coevo.accelerator.template import load_template
from coevo.evaluate import JointSpace
from coevo.protocols import Task

TASK = Task(1, 8, 10)
NET = {"depth": 2, "width": 8, "kernel1": 3, "kernel2": 5}


@pytest.fixture
def joint(machine):
    return JointSpace("tiny", Family(Family.Settings(), TASK), [load_template(machine())])


def test_network_genes_come_first_and_names_say_whose_they_are(joint):
    assert [gene.name for gene in joint.space.genes] == [
        "net.depth",
        "net.width",
        "net.kernel1",
        "net.kernel2",
        "small.pe_array.rows",
        "small.memories.buffer.size_kib",
    ]


def test_a_design_is_what_its_genes_say(joint):
    genes = {f"net.{name}": value for name, value in NET.items()}
    genes |= {"small.pe_array.rows": 8, "small.memories.buffer.size_kib": 64}
    design = joint.design(joint.genome(genes))
    assert dict(design.network.choices) == NET
    assert design.accelerator.pes == 8 * 4
    assert design.accelerator.memories[1].size_bits == 64 * 8192
    assert joint.space.decode(np.array(design.genome)) == genes


def test_sizes_count_distinct_designs(joint):
    networks = 4 * 3 * (1 + 3)
    assert joint.sizes == {"network": networks, "hardware": 9, "joint": networks * 9}
    assert joint.space.size == joint.sizes["joint"]


def test_several_templates_make_the_template_a_gene(machine):
    templates = [load_template(machine("small")), load_template(machine("other"))]
    joint = JointSpace("tiny", Family(Family.Settings(), TASK), templates)
    assert joint.sizes["hardware"] == 18
    assert joint.space.size == joint.sizes["joint"]
    genomes = joint.space.sample(np.random.default_rng(0), 50)
    for genome in genomes:
        genes = joint.space.decode(genome)
        assert joint.design(genome).accelerator.name == genes["template"]
        assert all(name.startswith(("net.", "template", genes["template"])) for name in genes)


def test_a_fixed_network_has_no_genes(machine):
    joint = JointSpace("tiny", Family(Family.Settings(), TASK), [load_template(machine())], fixed=NET)
    assert joint.sizes == {"network": 1, "hardware": 9, "joint": 9}
    assert dict(joint.design(joint.space.sample(np.random.default_rng(0), 1)[0]).network.choices) == NET


def test_a_fixed_network_must_be_one_of_the_family(machine):
    with pytest.raises(ValueError, match="width: 7 is not one of"):
        JointSpace("tiny", Family(Family.Settings(), TASK), [load_template(machine())], fixed={**NET, "width": 7})


def test_templates_of_one_name_are_refused(machine):
    template = load_template(machine())
    with pytest.raises(ValueError, match="different names"):
        JointSpace("tiny", Family(Family.Settings(), TASK), [template, template])


def test_workloads_are_those_of_the_deployment(machine):
    family, templates = Family(Family.Settings(), TASK), [load_template(machine())]
    joint = JointSpace("tiny", family, templates, deployment=Task(3, 32, 100))
    design = joint.design(joint.space.sample(np.random.default_rng(0), 1)[0])
    assert joint.workload(design.network) == family.workload(design.network.choices, Task(3, 32, 100))
