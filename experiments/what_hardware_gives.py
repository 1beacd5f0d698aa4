"""How much can hardware give a network? Random machines under 16 mm2 against the published Eyeriss.

    python experiments/what_hardware_gives.py

For four random networks of cifar10_mbconv: the lowest latency and energy among the feasible of 300 random machines of
the template, as a share of what the published machine needs.
"""

from __future__ import annotations

import numpy as np

from coevo import load_experiment, load_template
from coevo.protocols import NETWORK

COST_ONLY = [
    "objectives=[latency, energy]",
    "accuracy=null",
    "deployment={channels: 3, resolution: 32, classes: 10}",
    "budget={designs: 1}",
]


def main() -> None:
    """Prints a line per network."""
    evaluator = load_experiment("cifar10_eyeriss", COST_ONLY).evaluator
    template = load_template("eyeriss")
    machine, space = template.build(), evaluator.space
    published = {
        "pe_array.rows": machine.memories[1].fanout_y,
        "pe_array.columns": machine.memories[1].fanout_x,
        "dataflow": machine.dataflow.name,
        **{f"memories.{m.name}.size_kib": m.size_bits / 8192 for m in machine.memories},
        **{f"memories.{m.name}.size_words": m.size_bits / m.word_bits for m in machine.memories},
    }
    hardware = {f"eyeriss.{field.path}": published[field.path] for field in template.fields}
    is_network = np.array([gene.name.startswith(NETWORK) for gene in space.genes])
    rng = np.random.default_rng(1)
    for _ in range(4):
        network = space.sample(rng, 1)
        own = space.encode({**space.decode(network[0]), **hardware})
        others = space.canonical(np.where(is_network, network, space.sample(rng, 300)))
        values, violation = evaluator.hardware(np.vstack([own, others]))
        share = values[violation == 0][1:] / values[0]
        latency, energy = share.min(axis=0)
        print(f"{len(share)} feasible machines: lowest latency {latency:.2%}, lowest energy {energy:.2%} of Eyeriss'")


if __name__ == "__main__":
    main()
