"""ZigZag as cost model, a second and independent one; package ``zigzag-dse``.

Mei et al., "ZigZag: enlarging joint architecture-mapping design space exploration for DNN accelerators", IEEE Trans.
Computers 70(8), 2021. Both mappings, in space and time, are ZigZag's own. What it counts otherwise than ours: the
inputs that a stride skips are left out; filling, draining and stalls add to the cycles; operands may share a memory's
loops unevenly; nothing leaks. Layers that do not multiply are left out.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field

from coevo.accelerator.machine import Accelerator
from coevo.cost.detail import smallest_need
from coevo.cost.parts import refuse_parts
from coevo.cost.precision import too_wide
from coevo.cost.zigzag_input import NAMES, accelerator_data, mapping_data, ports, workload_data
from coevo.design import Cost, LayerCost
from coevo.errors import BackendError
from coevo.mapping import LevelMapping, Mapping
from coevo.workload import OPERANDS, Layer, Workload

Key = tuple[object, str]


class ZigzagSettings(BaseModel):
    """Settings of `ZigzagCost`.

    Attributes:
        objective: What ZigZag minimises per layer.
        lpf_limit: Prime factors of the loops, merged down to so many, whose orders it all tries.
        spatial_mappings: Unrollings that it tries per layer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    objective: Literal["edp", "latency", "energy"] = "edp"
    lpf_limit: Annotated[int, Field(ge=2, le=10)] = 6
    spatial_mappings: Annotated[int, Field(ge=1, le=100)] = 3


class ZigzagCost:
    """Latency and energy by ZigZag, area by ours (socket `CostModel`)."""

    Settings: ClassVar[type[BaseModel]] = ZigzagSettings
    additive = True

    def __init__(self, settings: Any = None) -> None:
        self.settings: ZigzagSettings = settings or ZigzagSettings()
        self._known: dict[Key, LayerCost | None] = {}

    def refuse(self, machine: Accelerator) -> None:
        """Refuses a machine of several parts.

        Raises:
            SpecError: It is one.
        """
        refuse_parts(machine, "ZigZag")

    def evaluate(self, pairs: Sequence[tuple[Workload, Accelerator]], jobs: int = 1) -> list[Cost]:
        """Scores every (workload, accelerator) pair; pure, and the same for any ``jobs``.

        Raises:
            SpecError: A machine has several parts.
            BackendError: ZigZag is not installed, or fails on a layer.
        """
        from joblib import Parallel, delayed

        for _, machine in pairs:
            self.refuse(machine)
        check()
        seen = [(_multiplying(workload), machine) for workload, machine in pairs]
        wanted = {_key(layer, machine): (layer, machine) for layers, machine in seen for layer in layers}
        new = {key: pair for key, pair in wanted.items() if key not in self._known}
        found = Parallel(n_jobs=min(jobs, max(len(new), 1)))(
            delayed(score)(layer, machine, self.settings) for layer, machine in new.values()
        )
        self._known.update(zip(new, found, strict=True))
        return [self._cost(layers, machine) for layers, machine in seen]

    def _cost(self, layers: Sequence[Layer], machine: Accelerator) -> Cost:
        names = tuple(memory.name for memory in machine.memories)
        costs = []
        for layer in layers:
            found = self._known[_key(layer, machine)]
            if found is None:
                violation, reason = smallest_need(layer, machine)
                return Cost(names, 0.0, 0.0, machine.area_mm2, 0.0, violation, reason)
            costs.append(replace(found, layer=layer))
        return Cost(
            memories=names,
            latency_cycles=sum(x.cycles for x in costs),
            energy_pj=sum(x.total_energy_pj for x in costs),
            area_mm2=machine.area_mm2,
            peak_memory_bytes=max((x.bytes_used for x in costs), default=0.0),
            detail=lambda: tuple(costs),
        )


def check() -> None:
    """Makes sure that ZigZag is there.

    Raises:
        BackendError: It is not.
    """
    try:
        import six  # noqa: F401 (zigzag-dse 3.9.1 imports it without asking for it)
        import zigzag  # noqa: F401
    except ImportError as error:
        raise BackendError(
            f'the cost model zigzag needs the package zigzag-dse ({error}); pip install "coevo[zigzag]"'
        ) from None


def _multiplying(workload: Workload) -> list[Layer]:
    return [replace(layer, kept=(), follows=False) for layer in workload.layers if layer.has_weights]


def _key(layer: Layer, machine: Accelerator) -> Key:
    return layer.shape_key, machine.key


# -- running it ------------------------------------------------------------------------------------------------


def search(workload: dict[str, Any], accelerator: Path, mapping: Path, settings: ZigzagSettings) -> Any:
    """Returns ZigZag's evaluation of the best mapping that it finds of a layer.

    Args:
        workload: The layer, as of `workload_data`.
        accelerator: File of the machine.
        mapping: File of what may unroll where.
        settings: How to search.
    """
    from zigzag.mapping.temporal_mapping import TemporalMappingType
    from zigzag.stages.evaluation.cost_model_evaluation import CostModelStage
    from zigzag.stages.main import MainStage
    from zigzag.stages.mapping.spatial_mapping_generation import SpatialMappingGeneratorStage
    from zigzag.stages.mapping.temporal_mapping_generator_stage import TemporalMappingGeneratorStage
    from zigzag.stages.parser.accelerator_parser import AcceleratorParserStage
    from zigzag.stages.parser.workload_parser import WorkloadParserStage
    from zigzag.stages.results import reduce_stages
    from zigzag.stages.workload_iterator import WorkloadStage

    least = {
        "edp": reduce_stages.MinimalEDPStage,
        "latency": reduce_stages.MinimalLatencyStage,
        "energy": reduce_stages.MinimalEnergyStage,
    }[settings.objective]
    stages = [
        WorkloadParserStage, AcceleratorParserStage, WorkloadStage, least,
        SpatialMappingGeneratorStage, least, TemporalMappingGeneratorStage, CostModelStage,
    ]  # fmt: skip
    with _silent():
        found = MainStage(
            stages,
            accelerator=str(accelerator),
            workload=[workload],
            mapping=str(mapping),
            loma_lpf_limit=settings.lpf_limit,
            loma_show_progress_bar=False,
            nb_mappings_generated=settings.spatial_mappings,
            access_same_data_considered_as_no_access=True,
            temporal_mapping_type=TemporalMappingType.UNEVEN,
        ).run()
    return found[0][0]


@contextmanager
def _silent() -> Iterator[None]:
    """ZigZag logs every step."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def score(layer: Layer, machine: Accelerator, settings: ZigzagSettings) -> LayerCost | None:
    """Returns a layer as ZigZag scores it; None where a memory is too small or the multipliers too narrow for it.

    Raises:
        BackendError: ZigZag failed.
    """
    if too_wide(layer, machine) is not None:
        return None
    with tempfile.TemporaryDirectory(prefix="coevo-zigzag-") as folder:
        accelerator, mapping = Path(folder) / "accelerator.yaml", Path(folder) / "mapping.yaml"
        accelerator.write_text(yaml.safe_dump(accelerator_data(machine, layer), sort_keys=False), encoding="utf-8")
        mapping.write_text(yaml.safe_dump(mapping_data(machine), sort_keys=False), encoding="utf-8")
        try:
            found = search(workload_data(layer, machine.bits_of(layer)), accelerator, mapping, settings)
        except Exception as error:  # whatever ZigZag raises
            if type(error).__name__ == "NoValidLoopOrderingFoundException":
                return None
            said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise BackendError(f"layer {layer.name} on {machine.name}: ZigZag failed: {said}") from None
    return _told(found, layer, machine)


def _told(found: Any, layer: Layer, machine: Accelerator) -> LayerCost:
    """Returns ZigZag's evaluation as a layer's cost; a memory is busy as long as its port moves its words.

    ZigZag cuts accesses, which move as much as a wide port does, down to whole ones; here they are not cut.
    """
    names = [memory.name for memory in machine.memories]
    shape = (len(names), len(OPERANDS))
    energy, reads, writes, tiles = (np.zeros(shape) for _ in range(4))
    busy_reading, busy_writing = np.zeros(len(names)), np.zeros(len(names))
    bits, bytes_used = machine.bits_of(layer), 0.0
    for j, operand in enumerate(OPERANDS):
        for one in _levels(found, NAMES[operand][0]):
            place = names.index(one.memory)
            memory = machine.memories[place]
            both, access = ports(memory, machine, layer), memory.words_per_access * memory.word_bits
            energy[place, j] = (one.bits_out * memory.read_energy_pj + one.bits_in * memory.write_energy_pj) / access
            reads[place, j], writes[place, j] = one.bits_out / memory.word_bits, one.bits_in / memory.word_bits
            tiles[place, j] = one.bits_held / bits[j]
            busy_reading[place] += one.bits_out / one.instances / both[0]["bandwidth_max"]
            busy_writing[place] += one.bits_in / one.instances / both[-1]["bandwidth_max"]
            if memory.kind != "dram":
                bytes_used += one.bits_held * one.instances / 8
    one_port = np.array([math.isfinite(memory.words_per_cycle) for memory in machine.memories])
    busy = np.where(one_port, busy_reading + busy_writing, np.maximum(busy_reading, busy_writing))
    compute, cycles = float(found.ideal_temporal_cycle), float(math.ceil(found.latency_total2))
    return LayerCost(
        layer=layer,
        mapping=Mapping(tuple(LevelMapping(name) for name in names)),  # uneven loops have no place in ours
        compute_cycles=compute,
        cycles=cycles,
        bound_by="compute" if compute >= busy.max() else names[int(busy.argmax())],
        utilization=layer.operations / (machine.pes * cycles),
        mac_energy_pj=float(found.mac_energy),
        leakage_pj=0.0,
        energy_pj=energy,
        reads=reads,
        writes=writes,
        tile_words=tiles,
        memory_cycles=busy,
        bytes_used=bytes_used,
    )


@dataclass(frozen=True)
class _Level:
    """What ZigZag says of an operand in a memory.

    Attributes:
        memory: Its name.
        bits_held: In one instance.
        bits_out, bits_in: Read from and written to all instances.
        instances: In use.
    """

    memory: str
    bits_held: float
    bits_out: float
    bits_in: float
    instances: float


def _levels(found: Any, operand: str) -> Iterator[_Level]:
    """Yields an operand's memories, the innermost first."""
    from zigzag.datatypes import LayerOperand

    key = LayerOperand(operand)
    held, mapping = found.memory_operand_links.layer_to_mem_op(key), found.mapping
    for index, movement in enumerate(mapping.unit_mem_data_movement[key]):
        level = found.accelerator.get_memory_level(held, index)
        instances = float(mapping.spatial_mapping.unit_count[key][index + 1])
        bits = _moved(movement, level, held)
        yield _Level(
            memory=level.memory_instance.name,
            bits_held=float(mapping.data_bit_per_level_unrolled[key][index + 1]),
            bits_out=instances * (bits["RD_OUT_TO_LOW"] + bits["RD_OUT_TO_HIGH"]),
            bits_in=instances * (bits["WR_IN_BY_HIGH"] + bits["WR_IN_BY_LOW"]),
            instances=max(instances, 1.0),
        )


def _moved(movement: Any, level: Any, held: Any) -> dict[str, float]:
    """Bits that one instance moves each way, in whole granules of its port (its least bandwidth)."""
    from zigzag.mapping.data_movement import DataDirection, DataMoveAttr

    amount, precision, periods = (
        movement.get_attribute(attribute)
        for attribute in (
            DataMoveAttr.DATA_TRANS_AMOUNT_PER_PERIOD,
            DataMoveAttr.DATA_PRECISION,
            DataMoveAttr.DATA_TRANS_PERIOD_COUNT,
        )
    )
    moved = {}
    for way in DataDirection:
        bits, granule = amount.get(way) * precision.get(way), level.get_min_bandwidth(held, way)
        moved[way.name] = float(math.ceil(bits / granule) * granule * periods.get(way)) if bits else 0.0
    return moved


plugin = ZigzagCost
