"""What do two unlike accelerators on one chip give, beside one that has all of the area? Every size within a budget.

    python experiments/what_parts_give.py 60        # words a cycle of DRAM; 15 CPU minutes

The networks are that of hardware_only.yaml, a chain, and the cell of NAS-Bench-201 with six 3x3 convolutions, which
branches. The chips are those of nvdla_shidiannao.yaml: both parts; each part alone, in a wider range of sizes; and two
equal ones of the better part. All have the same DRAM and technology. Per budget the least latency and EDP over all
chips that fit, the least interval over the 300 of them of least latency, and what the latency were if the layers of an
image ran one after the other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml

from coevo import load_experiment, load_template
from coevo.accelerator import System, Template
from coevo.accelerator.system import system_of
from coevo.cost.analytical import AnalyticalCost, AnalyticalSettings
from coevo.design import Cost
from coevo.networks import build_family, load_space
from coevo.networks.cell import from_digits
from coevo.protocols import Task
from coevo.workload import Workload

CHIP = "nvdla_shidiannao"
BUDGETS_MM2 = (1.0, 1.5, 3.0)
FASTEST = 300
ALONE: Mapping[str, Mapping[str, Any]] = {
    "dense": {
        "dense.memories.conv_buffer.fanout.x": {"from": 4, "to": 128, "times": 2},
        "dense.memories.accumulators.fanout.y": {"from": 4, "to": 128, "times": 2},
        "dense.memories.conv_buffer.size_kib": {"from": 32, "to": 2048, "times": 2},
    },
    "depthwise": {
        "depthwise.pe_array.rows": {"from": 4, "to": 32, "step": 4},
        "depthwise.pe_array.columns": {"from": 4, "to": 32, "step": 4},
        "depthwise.memories.nbin.size_kib": {"from": 16, "to": 256, "times": 2},
        "depthwise.memories.nbout.size_kib": {"from": 16, "to": 256, "times": 2},
    },
}
"""The sizes of a part that has the chip to itself."""


def alone(label: str) -> Template:
    """Returns the template with one of its parts only."""
    content = load_template(CHIP).content
    data = {**content, "parts": {label: content["parts"][label]}, "vary": dict(ALONE[label])}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "alone.yaml"
        file.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
        return load_template(str(file))


def chips(template: Template, words_per_cycle: float) -> Iterator[System]:
    """Yields every machine of a template, with a DRAM of some bandwidth."""
    paths = [field.path for field in template.fields]
    for way in product(*(field.choices for field in template.fields)):
        machine = template.build({**dict(zip(paths, way, strict=True)), "dram.words_per_cycle": words_per_cycle})
        if isinstance(machine, System):
            yield machine


def twice(system: System) -> System:
    """Returns the chip with two of the one part that it has."""
    ((_, part),) = system.parts
    return system_of(system.name, system.clock_mhz, {"one": part, "other": part})


def kinds_of(words_per_cycle: float) -> dict[str, list[System]]:
    """Returns the chips up to the largest budget by kind."""
    single = {label: list(chips(alone(label), words_per_cycle)) for label in ALONE}
    kinds = {
        "both": list(chips(load_template(CHIP), words_per_cycle)),
        **single,
        "two depthwise": [twice(machine) for machine in single["depthwise"]],
    }
    return {kind: [m for m in machines if m.area_mm2 <= max(BUDGETS_MM2)] for kind, machines in kinds.items()}


def latency(cost: Cost) -> float:
    """Cycles of one inference; infinite if a layer does not fit."""
    return cost.latency_cycles if cost.violation == 0 else np.inf


def edp(cost: Cost) -> float:
    """Energy x delay [pJ x cycle]; infinite if a layer does not fit."""
    return cost.energy_pj * latency(cost)


def least(
    net: Workload, machines: Sequence[System], goal: str, figure: Callable[[Cost], float]
) -> tuple[list[float], list[float]]:
    """Returns the figure of every machine, and its least per budget."""
    model = AnalyticalCost(AnalyticalSettings.model_validate({"objective": goal}))
    values = [figure(cost) for cost in model.evaluate([(net, machine) for machine in machines], jobs=2)]
    return values, [
        min((v for v, m in zip(values, machines, strict=True) if m.area_mm2 <= b), default=np.inf) for b in BUDGETS_MM2
    ]


def least_interval(net: Workload, machines: Sequence[System], latencies: Sequence[float]) -> list[float]:
    """Returns the least interval per budget, over the machines of least latency [cycle]."""
    model = AnalyticalCost(AnalyticalSettings(objective="latency", assign="interval"))
    found = []
    for budget in BUDGETS_MM2:
        best = np.inf
        order = [i for i in np.argsort(latencies, kind="stable") if machines[i].area_mm2 <= budget][:FASTEST]
        for i in order:
            if latencies[i] / len(machines[i].parts) >= best:
                break  # no assignment shares the work better than evenly
            (cost,) = model.evaluate([(net, machines[i])])
            best = min(best, cost.interval_cycles or best)
        found.append(best)
    return found


def networks() -> dict[str, Workload]:
    """Returns the two networks."""
    joint = load_experiment("hardware_only").joint
    chain = joint.workload(joint.network(np.zeros(len(joint.space.genes), dtype=np.int64)))
    cell = build_family(load_space("nasbench201"), Task(3, 32, 10)).workload(dict(from_digits("333333")))
    return {"hardware_only": chain, "cell 333333": cell}


def table(net: Workload, kinds: Mapping[str, Sequence[System]]) -> dict[str, dict[str, list[float]]]:
    """Returns the least of every figure ``(budget,)``, by figure and kind of chip."""
    in_a_row = replace(net, after=None)
    names = ("latency", "latency, layers in a row", "EDP", "interval")
    figures: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for kind, machines in kinds.items():
        latencies, figures["latency"][kind] = least(net, machines, "latency", latency)
        _, figures["latency, layers in a row"][kind] = least(in_a_row, machines, "latency", latency)
        _, figures["EDP"][kind] = least(net, machines, "edp", edp)
        figures["interval"][kind] = least_interval(net, machines, latencies)
    return figures


def main() -> None:
    """Prints a line per network, figure and budget."""
    kinds = kinds_of(float(sys.argv[1]))
    print(", ".join(f"{len(machines):,} chips of {kind}" for kind, machines in kinds.items()))
    for name, net in networks().items():
        for figure, by_kind in table(net, kinds).items():
            for i, budget in enumerate(BUDGETS_MM2):
                ratios = ", ".join(f"{kind} {by_kind[kind][i] / by_kind['both'][i]:.2f}" for kind in list(kinds)[1:])
                print(f"{name}, {budget} mm2, least {figure}: both 1 ({by_kind['both'][i]:.4g}), {ratios}")


if __name__ == "__main__":
    main()
