"""What silicon costs: CACTI's points are met exactly, and nothing jumps or falls where it must not."""

import csv
import math
from itertools import pairwise
from pathlib import Path

import pytest

from coevo.accelerator import technology

KIB = 1024
NODES = (7, 16, 22, 28, 32, 40, 45, 65, 90, 130)


def cacti_rows():
    text = Path(technology.__file__).with_name("cacti.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


def figures(storage):
    return (storage.read_energy_pj, storage.write_energy_pj, storage.leakage_mw, storage.area_mm2)


def test_sram_returns_every_point_of_cacti_exactly():
    rows = cacti_rows()
    assert len(rows) == 144
    for row in rows:
        found = technology.sram(float(row["bytes"]), float(row["width_bits"]), float(row["technology_nm"]), row["cell"])
        assert figures(found) == tuple(float(row[n]) for n in ("read_pj", "write_pj", "leakage_mw", "area_mm2"))


def test_a_point_between_two_of_cacti_is_their_geometric_mean():
    low, high = technology.sram(64 * KIB, 64, 45, "hp"), technology.sram(128 * KIB, 64, 45, "hp")
    middle = technology.sram(math.sqrt(64 * 128) * KIB, 64, 45, "hp")
    for a, b, c in zip(figures(low), figures(high), figures(middle), strict=True):
        assert c == pytest.approx(math.sqrt(a * b))


@pytest.mark.parametrize("cell", ["lstp", "hp"])
@pytest.mark.parametrize("width", [8, 64, 100, 256, 2048])
@pytest.mark.parametrize("node", [7, 28, 65, 90])
def test_sram_energy_and_area_rise_with_capacity(node, width, cell):
    storages = [technology.sram(2**k, width, node, cell) for k in range(4, 28)]
    for small, large in pairwise(storages):
        assert small.read_energy_pj < large.read_energy_pj
        assert small.write_energy_pj < large.write_energy_pj
        assert small.area_mm2 < large.area_mm2


@pytest.mark.parametrize("size", [24, 448, 1024, 5000, 108 * KIB, 24 * KIB * KIB])
def test_sram_energy_rises_with_the_port(size):
    energies = [technology.sram(size, width, 28).read_energy_pj for width in (1, 8, 16, 63, 64, 65, 255, 256, 257, 512)]
    assert energies == sorted(energies)
    assert len(set(energies)) == len(energies)


@pytest.mark.parametrize("edge", [64, 256])
def test_the_port_laws_join_without_a_jump(edge):
    below, above = technology.sram(32 * KIB, edge * (1 - 1e-9), 45), technology.sram(32 * KIB, edge * (1 + 1e-9), 45)
    assert figures(below)[:2] == pytest.approx(figures(above)[:2], rel=1e-6)


@pytest.mark.parametrize("edge", [1 * KIB, 2048 * KIB])
def test_the_capacity_laws_join_without_a_jump(edge):
    below, above = technology.sram(edge * (1 - 1e-9), 64, 45), technology.sram(edge * (1 + 1e-9), 64, 45)
    assert figures(below) == pytest.approx(figures(above), rel=1e-6)


def test_beyond_cacti_small_arrays_go_with_the_root_and_large_ones_with_the_capacity():
    assert technology.sram(256, 64, 45).area_mm2 == pytest.approx(technology.sram(1024, 64, 45).area_mm2 / 2)
    large, huge = technology.sram(2048 * KIB, 64, 45), technology.sram(8192 * KIB, 64, 45)
    assert huge.area_mm2 == pytest.approx(4 * large.area_mm2)
    assert huge.read_energy_pj == pytest.approx(2 * large.read_energy_pj)


def test_a_port_of_512_bits_is_two_arrays_of_half_the_size():
    whole, half = technology.sram(64 * KIB, 512, 45), technology.sram(32 * KIB, 256, 45)
    assert figures(whole) == pytest.approx([2 * figure for figure in figures(half)])


def test_everything_shrinks_with_the_node():
    for finer, coarser in pairwise(NODES):
        assert technology.mac(8, 8, finer).energy_pj < technology.mac(8, 8, coarser).energy_pj
        assert technology.mac(8, 8, finer).area_mm2 < technology.mac(8, 8, coarser).area_mm2
        for kind in (
            lambda node: technology.sram(32 * KIB, 64, node),
            lambda node: technology.registers(256, 16, node),
        ):
            assert kind(finer).read_energy_pj < kind(coarser).read_energy_pj
            assert kind(finer).area_mm2 < kind(coarser).area_mm2


def test_energy_scales_as_the_published_polynomials_say():
    # Stillmaker & Baas 2017, table 5, at nominal supply; the coefficients of 32 nm as in the authors' corrigendum.
    at_32 = 0.8367 * 0.97**2 - 0.4341 * 0.97 + 0.1701
    at_7 = 0.1776 * 0.80**2 - 0.09097 * 0.80 + 0.02447
    assert technology.energy_scale(7, 32) == pytest.approx(at_7 / at_32)
    assert technology.energy_scale(32, 32) == 1


def test_logic_from_28_to_16_nm_shrinks_as_nvdla_does():
    # NVDLA primer: 28 nm to 16 nm area factor 0.59-0.61 in all seven rows.
    assert technology.area_scale(16, 28) == pytest.approx(0.60, rel=0.2)


def test_an_int8_mac_is_horowitz_sum_of_parts():
    # ISSCC 2014, 45 nm: int8 multiplication 0.2 pJ and 282 um2, int32 addition 0.1 pJ and 137 um2.
    mac = technology.mac(8, 8, 45)
    assert mac.energy_pj == pytest.approx(0.3)
    assert mac.area_mm2 == pytest.approx(419e-6)


def test_a_multiplier_is_about_quadratic_in_its_width():
    eight, sixteen = technology.mac(8, 8, 45).energy_pj - 0.1, technology.mac(16, 16, 45).energy_pj - 0.1467
    assert sixteen / eight == pytest.approx(4, rel=0.03)


def test_a_single_register_costs_aladdins_register():
    # Aladdin, 40 nm: 0.009 pJ and 5.98 um2 per bit.
    one = technology.registers(1, 1, 40)
    assert one.area_mm2 == pytest.approx(5.98e-6)
    assert 0.009 < one.read_energy_pj < 0.012
    assert technology.registers(4096, 16, 40).read_energy_pj > technology.registers(256, 16, 40).read_energy_pj


def test_dram_costs_8_pj_per_bit_and_no_area():
    assert figures(technology.dram(64)) == (512, 512, 0, 0)


def test_dram_costs_what_the_sources_say_of_its_kind():
    # Accelergy's CACTI plug-in: LPDDR4 8, LPDDR 40 and DDR3 70 (Malladi), GDDR5 14 and HBM2 3.9 (Chatterjee) pJ/bit.
    # Accelforge's NVDLA-like example: LPDDR5 7.03.
    published = {"lpddr4": 8, "lpddr5": 7.03, "lpddr": 40, "ddr3": 70, "gddr5": 14, "hbm2": 3.9}
    assert dict(technology.DRAM_PJ_PER_BIT) == published
    for kind, energy in published.items():
        assert figures(technology.dram(64, kind)) == (64 * energy, 64 * energy, 0, 0)


def test_leaving_out_a_point_of_cacti_shows_what_interpolation_is_worth():
    """Every inner capacity from its neighbours: steps of 4 where the table has 2, so the table is better than this."""
    curves = {}
    for row in cacti_rows():
        curve = curves.setdefault((row["cell"], row["technology_nm"], row["width_bits"]), [])
        curve.append((float(row["bytes"]), [float(row[n]) for n in ("read_pj", "write_pj", "leakage_mw", "area_mm2")]))
    residuals = []
    for curve in curves.values():
        for (_, small), (_, left_out), (_, large) in zip(curve, curve[1:], curve[2:], strict=False):
            means = [math.sqrt(a * b) for a, b in zip(small, large, strict=True)]  # half-way: capacities double
            residuals.append([abs(mean / value - 1) for mean, value in zip(means, left_out, strict=True)])
    worst = [max(column) for column in zip(*residuals, strict=True)]
    mean = [sum(column) / len(residuals) for column in zip(*residuals, strict=True)]
    assert worst == pytest.approx([0.258, 0.184, 0.104, 0.127], abs=0.001)
    assert mean == pytest.approx([0.079, 0.062, 0.024, 0.043], abs=0.001)


@pytest.mark.parametrize("cell", ["lstp", "hp"])
@pytest.mark.parametrize("node", [7, 16, 28, 40, 65, 130])
def test_area_and_leakage_rise_between_the_points_too(node, cell):
    storages = [technology.sram(100 * 1.07**k, 64, node, cell) for k in range(200)]
    for small, large in pairwise(storages):
        assert small.area_mm2 < large.area_mm2
        assert small.leakage_mw < large.leakage_mw


@pytest.mark.parametrize("node", [7, 28, 65])
def test_no_on_chip_part_is_free_of_area_or_leakage(node):
    for part in (technology.sram(16, 8, node), technology.registers(8, 8, node), technology.mac(4, 4, node)):
        assert part.area_mm2 > 0
        assert part.leakage_mw > 0


def test_wider_operands_cost_more_of_everything():
    macs = [technology.mac(bits, bits, 28) for bits in (2, 4, 8, 12, 16, 24, 32)]
    for narrow, wide in pairwise(macs):
        assert narrow.energy_pj < wide.energy_pj
        assert narrow.area_mm2 < wide.area_mm2
        assert narrow.leakage_mw < wide.leakage_mw
    mixed = technology.mac(4, 16, 28)
    assert technology.mac(4, 4, 28).energy_pj < mixed.energy_pj < technology.mac(16, 16, 28).energy_pj
    assert mixed == technology.mac(16, 4, 28)


def test_a_32_bit_multiplication_and_addition_are_horowitz():
    # ISSCC 2014, 45 nm: int32 multiplication 3.1 pJ; the adder is wider than int32's 0.1 pJ.
    assert technology.mac(32, 32, 45).energy_pj == pytest.approx(3.1 + 0.03 + (80 - 8) * 0.07 / 24)


def test_leakage_of_a_mac_is_aladdins_multiplier_and_adder():
    # Aladdin, 40 nm: 32x32 multiplier 8.0e-5 W, 32-bit adder 2.4e-6 W.
    assert technology.mac(32, 32, 40).leakage_mw == pytest.approx(8.0e-2 + 2.4e-3 * 80 / 32)
    assert technology.mac(8, 8, 40).leakage_mw == pytest.approx(8.0e-2 / 16 + 2.4e-3)
