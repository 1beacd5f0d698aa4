"""An analytic co-design problem: joint integer genes, conditional blocks, hardware constraints, no cost model.

A bigger network has a lower error and costs more; a bigger array is faster, larger and wants a wide enough
buffer. Kernels interact with the array's shape, so that network and accelerator must be found together.
"""

from __future__ import annotations

import numpy as np

from coevo.design import Quantity
from coevo.protocols import Array
from coevo.space import Gene, Genomes, Space

STAGES = 4
NETWORK = tuple(
    gene
    for stage in range(STAGES)
    for gene in (
        Gene(f"net.stage{stage}.depth", (1, 2, 3)),
        Gene(f"net.stage{stage}.width", (16, 24, 32, 48, 64)),
        Gene(f"net.stage{stage}.kernel1", (3, 5, 7)),
        Gene(f"net.stage{stage}.kernel2", (3, 5, 7), parent=f"net.stage{stage}.depth", when=(2, 3)),
        Gene(f"net.stage{stage}.kernel3", (3, 5, 7), parent=f"net.stage{stage}.depth", when=(3,)),
    )
)
TEMPLATES = (
    Gene("template", ("array", "vector"), ordered=False),
    Gene("array.rows", (4, 8, 12, 16, 24, 32), parent="template", when=("array",)),
    Gene("array.columns", (4, 8, 12, 16, 24, 32), parent="template", when=("array",)),
    Gene("array.buffer_kib", (16, 32, 64, 128, 256), parent="template", when=("array",)),
    Gene("vector.lanes", (8, 16, 32, 64, 128), parent="template", when=("vector",)),
    Gene("vector.buffer_kib", (16, 32, 64, 128, 256), parent="template", when=("vector",)),
)
TINY = (Gene("net.depth", (1, 2)), Gene("net.kernel", (3, 5, 7), parent="net.depth", when=(2,)), Gene("chip", (1, 2)))


class AnalyticProblem:
    """Minimises error [%], log latency, log energy; at most so much area and at least so much buffer."""

    def __init__(self, genes: tuple[Gene, ...] = (*NETWORK, *TEMPLATES), max_area: float = 900.0) -> None:
        self.space = Space(genes)
        self.objectives = (Quantity("error", "%"), Quantity("latency", "ms"), Quantity("energy", "mJ"))
        self.max_area = max_area
        self.scored = 0

    def hardware(self, genomes: Genomes) -> tuple[Array, Array]:
        self.scored += len(genomes)
        values, violation = self.evaluate(genomes)
        values[:, 0] = np.nan
        return values, violation

    def evaluate(self, genomes: Genomes) -> tuple[Array, Array]:
        """Values ``(batch, objective)`` and violation ``(batch,)`` of canonical genomes."""
        rows = [self._figures(self.space.decode(genome)) for genome in genomes]
        figures = np.array(rows, dtype=np.float64).reshape(len(genomes), 4)
        return figures[:, :3].copy(), figures[:, 3].copy()

    def _figures(self, genes: dict[str, float]) -> tuple[float, float, float, float]:
        if "net.stage0.depth" not in genes:
            size, chip = sum(v for k, v in genes.items() if k != "chip"), genes.get("chip", 1)
            return 10.0 / size, size / chip, size * chip, 0.0
        work, power, need, idle = 0.0, 0.0, 0.0, 0.0
        rows = genes.get("array.rows", 1)
        for stage in range(STAGES):
            width = genes[f"net.stage{stage}.width"]
            for block in range(1, int(genes[f"net.stage{stage}.depth"]) + 1):
                kernel = genes[f"net.stage{stage}.kernel{block}"]
                work += width * kernel**2 * 2.0**-stage
                power += np.log(width) * (1 + 0.2 * (kernel == (3, 7, 5, 3)[stage]))
                idle += (rows % kernel) / rows if rows > 1 else 0.4
                need = max(need, width * kernel**2 * 2.0**-stage / 20)
        lanes = genes["array.rows"] * genes["array.columns"] if genes["template"] == "array" else genes["vector.lanes"]
        buffer = genes.get("array.buffer_kib", genes.get("vector.buffer_kib", 0))
        area = lanes + 2 * buffer
        cycles = work * (1 + idle) / lanes + 300 / buffer
        energy = work * (1 + 0.003 * buffer) * (0.6 if genes["template"] == "array" else 1.0) + 0.02 * area * cycles
        violation = max(area / self.max_area - 1, 0) + max(need / buffer - 1, 0)
        return 100 * np.exp(-power / 12), np.log10(cycles), np.log10(energy), violation


class ErrorAlone(AnalyticProblem):
    """Minimises the error, with the latency bounded: hardware decides constraints and no objective."""

    def __init__(self) -> None:
        super().__init__()
        self.objectives = self.objectives[:1]

    def evaluate(self, genomes: Genomes) -> tuple[Array, Array]:
        values, violation = super().evaluate(genomes)
        return values[:, :1], violation + np.maximum(values[:, 1] - 2.0, 0)
