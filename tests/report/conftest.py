"""A made-up but believable run: 400 co-designs of small networks on two kinds of accelerator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from coevo.accelerator.machine import DATAFLOWS, Accelerator, Mac, Memory
from coevo.design import (
    Accuracy,
    Cost,
    Design,
    Evaluation,
    Front,
    FrontDesign,
    LayerCost,
    Network,
    Quantity,
    Results,
)
from coevo.mapping import LevelMapping
from coevo.mapping import Mapping as LoopMapping
from coevo.pareto import nondominated
from coevo.space import Gene, Space
from coevo.workload import Layer, Workload

QUANTITIES = {
    "error": Quantity("error", "%", title="Validation error"),
    "latency": Quantity("latency", "ms", title="Latency"),
    "energy": Quantity("energy", "mJ", title="Energy"),
    "area": Quantity("area", "mm2", title="Area"),
    "throughput": Quantity("throughput", "1/s", maximise=True, title="Throughput"),
    "macs": Quantity("macs", "", title="Multiply-accumulates"),
    "parameters": Quantity("parameters", "", title="Parameters"),
}
SPACE = Space(
    (
        Gene("net.resolution", (16, 24, 32)),
        *(
            gene
            for stage in (1, 2, 3)
            for gene in (
                Gene(f"net.stage{stage}.depth", (1, 2, 3)),
                Gene(f"net.stage{stage}.width", (16, 24, 32, 48)),
                Gene(f"net.stage{stage}.kernel", (3, 5)),
                Gene(f"net.stage{stage}.operator", ("mbconv", "fused"), ordered=False),
            )
        ),
        Gene("template", ("eyeriss", "shidiannao"), ordered=False),
        Gene("eyeriss.pe_array.rows", (4, 8, 12, 16), parent="template", when=("eyeriss",)),
        Gene("eyeriss.memories.glb.size_kib", (32.0, 64.0, 108.0, 256.0), parent="template", when=("eyeriss",)),
        Gene("shidiannao.pe_array.rows", (8, 16), parent="template", when=("shidiannao",)),
    )
)


def accelerator(genes: Mapping[str, Any]) -> Accelerator:
    name = genes["template"]
    rows = genes[f"{name}.pe_array.rows"]
    size = genes.get("eyeriss.memories.glb.size_kib", 64.0)
    everything = ("weights", "inputs", "outputs")

    def memory(name: str, kind: Any, holds: tuple[str, ...], kib: float, pj: float, mm2: float, **rest: Any) -> Memory:
        wide = {"dram": 4.0, "sram": 16.0, "registers": float("inf")}[kind]
        return Memory(name, kind, holds, kib * 8192, 16, 1, wide, wide, float("inf"), False, pj, pj, 0.0, mm2, **rest)

    spads = [
        ("weight_spad", "weights", 0.4375, 1.2),
        ("input_spad", "inputs", 0.023, 0.6),
        ("psum_spad", "outputs", 0.047, 0.7),
    ]
    memories = [
        memory("dram", "dram", everything, float("inf"), 200.0, 0.0),
        memory("glb", "sram", everything[1:], size, 6.0 + size / 60, 0.012 * size, fanout_x=14, fanout_y=rows),
        *(memory(n, "registers", (operand,), kib, pj, 0.002) for n, operand, kib, pj in spads),
    ]
    choices = tuple((k.removeprefix(f"{name}."), v) for k, v in genes.items() if k.startswith(f"{name}."))
    dataflow = DATAFLOWS["row_stationary" if name == "eyeriss" else "output_stationary"]
    return Accelerator(
        name, 65, 200, (16, 16, 16), tuple(memories), Mac(1.0, 0.004), dataflow, other_area_mm2=0.5, choices=choices
    )


def workload(genes: Mapping[str, Any]) -> Workload:
    size, channels = genes["net.resolution"] // 2, 16
    layers = [Layer("stem", "conv", m=16, c=3, p=size, q=size, r=3, s=3, stride=(2, 2))]
    for stage in (1, 2, 3):
        width, kernel = genes[f"net.stage{stage}.width"], genes[f"net.stage{stage}.kernel"]
        size = max(2, size // 2)
        for block in range(1, genes[f"net.stage{stage}.depth"] + 1):
            name, wide = f"stage{stage}.block{block}", 4 * channels
            if genes[f"net.stage{stage}.operator"] == "fused":
                layers.append(Layer(f"{name}.fused", "conv", m=wide, c=channels, p=size, q=size, r=kernel, s=kernel))
            else:
                layers.append(Layer(f"{name}.expand", "conv", m=wide, c=channels, p=size, q=size))
                layers.append(Layer(f"{name}.depthwise", "conv", g=wide, p=size, q=size, r=kernel, s=kernel))
            layers.append(Layer(f"{name}.project", "conv", m=width, c=wide, p=size, q=size))
            channels = width
    layers.append(Layer("pool", "pool", g=channels, r=size, s=size))
    layers.append(Layer("classifier", "linear", m=10, c=channels))
    return Workload("mbconv", tuple(layers))


def layer_cost(layer: Layer, machine: Accelerator) -> LayerCost:
    rows = machine.memories[1].fanout_y
    x, y = min(14, layer.p), min(rows, layer.r * 4)
    compute = layer.operations / (x * y)
    w, i, o = layer.words
    moved = np.array(
        [
            [w, i, o],
            [0, 3.0 * i, 4.0 * o],
            [w * layer.p, 0, 0],
            [0, layer.operations / 4, 0],
            [0, 0, layer.operations / 2],
        ]
    )
    pj = np.array([memory.read_energy_pj for memory in machine.memories])
    memory_cycles = np.array([moved[0].sum() / 4, moved[1].sum() / 16, 0, 0, 0])
    cycles = max(compute, *memory_cycles)
    bound = "compute" if compute >= cycles else machine.memories[int(memory_cycles.argmax())].name
    levels = (
        LevelMapping("dram", temporal=(("m", max(1, layer.m // 8)), ("c", layer.c))),
        LevelMapping("glb", temporal=(("q", layer.q),), x=(("p", x),), y=(("r", layer.r), ("m", 4))),
        LevelMapping("weight_spad"),
        LevelMapping("input_spad", temporal=(("s", layer.s),)),
        LevelMapping("psum_spad", temporal=(("m", 2),)),
    )
    return LayerCost(
        layer,
        LoopMapping(levels),
        compute_cycles=compute,
        cycles=cycles,
        bound_by=bound,
        utilization=layer.macs / (cycles * machine.pes),
        mac_energy_pj=layer.operations * 1.0,
        leakage_pj=cycles * 0.8,
        energy_pj=moved * pj[:, None],
        reads=moved,
        writes=moved * 0.25,
        tile_words=np.minimum(moved, 2048).round(),
        memory_cycles=memory_cycles,
        bytes_used=4096.0,
    )


def cost(work: Workload, machine: Accelerator) -> Cost:
    layers = tuple(layer_cost(layer, machine) for layer in work.layers)
    return Cost(
        tuple(memory.name for memory in machine.memories),
        latency_cycles=sum(layer.cycles for layer in layers),
        energy_pj=sum(layer.total_energy_pj for layer in layers),
        area_mm2=machine.area_mm2,
        peak_memory_bytes=4096.0,
        detail=lambda: layers,
    )


def metrics(work: Workload, costs: Cost, noise: float) -> dict[str, float]:
    error = 0.8 + 60 / (1 + (work.parameters / 3000) ** 0.8) + noise
    latency = costs.latency_cycles / 200e3
    return {
        "error_pct": error,
        "latency_ms": latency,
        "energy_mj": costs.energy_pj * 1e-9,
        "area_mm2": costs.area_mm2,
        "throughput_per_s": 1e3 / latency,
        "macs": float(work.macs),
        "parameters": float(work.parameters),
    }


def build(
    objectives: tuple[str, ...] = ("error", "latency", "energy"),
    designs: int = 400,
    template: str = "eyeriss",
    feasible: bool = True,
    seed: int = 1,
) -> Results:
    """Returns a run; ``template`` renames the first template wherever it stands; ``feasible=False``: nothing fits."""
    rng = np.random.default_rng(seed)
    wanted = tuple(QUANTITIES[name] for name in objectives)
    known: dict[str, tuple[Evaluation, FrontDesign]] = {}
    for number, genome in enumerate(SPACE.sample(rng, designs)):
        genes = SPACE.decode(genome)
        work, machine = workload(genes), accelerator(genes)
        machine = replace(machine, name=template) if machine.name == "eyeriss" else machine
        shown = {k.replace("eyeriss", template): template if v == "eyeriss" else v for k, v in genes.items()}
        network = Network("mbconv", {k: v for k, v in genes.items() if k.startswith("net.")})
        design = Design(tuple(int(i) for i in genome), network, machine)
        costs = cost(work, machine)
        figures = metrics(work, costs, float(rng.normal(0, 0.3)))
        limit = 5.0 if feasible else 0.1
        violation = max(0.0, costs.area_mm2 / limit - 1)
        reason = f"area {costs.area_mm2:.2f} mm2 is over {limit} mm2" if violation else ""
        if violation:
            del figures["error_pct"]
        elif number % 41 == 5:
            violation, reason = 1.0, f"layer stage2.block1.project: glb needs {3000 + number} bits of 2048"
        values = tuple((-1 if q.maximise else 1) * figures.get(q.column, 0.0) for q in wanted)
        evaluation = Evaluation(design.id, design.genome, shown, figures, values, violation, reason, number // 24)
        accuracy = (
            Accuracy(figures["error_pct"] / 100, figures["error_pct"] / 100 + 0.004, 0.002, "8 epochs", seconds=3.3)
            if "error_pct" in figures and "error" in objectives
            else None
        )
        known.setdefault(design.id, (evaluation, FrontDesign(evaluation, design, work, (costs,), accuracy)))
    evaluations = tuple(evaluation for evaluation, _ in known.values())
    best = nondominated([e.values for e in evaluations], [e.violation for e in evaluations]) if evaluations else []
    front = [known[e.id][1] for e, on in zip(evaluations, best, strict=True) if on]
    return Results(
        name="digits_eyeriss",
        facts={
            "optimiser": "nsga2, population 24",
            "seed": "0",
            "budget": f"{designs} designs",
            "accuracy": "8 epochs on digits",
            "experiment hash": "5f1c0a9be2d4",
            "versions": "coevo 0.1.0, Python 3.11.2, numpy 2.4.6, torch 2.13.0",
        },
        settings="schema: 1\nname: digits_eyeriss\nobjectives: [error, latency, energy]\nseed: 0\n",
        quantities={q.column: q for q in QUANTITIES.values()},
        objectives=wanted,
        constraints=("area <= 5 mm2",),
        genes=tuple(gene.name.replace("eyeriss", template) for gene in SPACE.genes),
        evaluations=evaluations,
        front=Front(wanted, tuple(sorted(front, key=lambda d: (d.evaluation.values, d.evaluation.id)))),
        space_sizes={"network": 331_776, "hardware": 18, "joint": 331_776 * 18},
        trainings=212,
        trainings_saved=87,
    )


@pytest.fixture
def make_results() -> Callable[..., Results]:
    """Builds a run; see `build`."""
    return build


@pytest.fixture(scope="session")
def results() -> Results:
    """The run that most tests read: three objectives."""
    return build()
