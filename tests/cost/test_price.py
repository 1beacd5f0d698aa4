"""Cycles and energy on numpy, on torch and on plain numbers."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from small_machines import three_levels

from coevo.cost.batch import Batch, batch_of, batch_of_one
from coevo.cost.nest import Loop, traffic
from coevo.cost.price import fits, price
from coevo.workload import Layer

LAYERS = [
    Layer("conv", "conv", m=8, c=4, p=6, q=6, r=3, s=3),
    Layer("strided", "conv", m=4, c=8, p=3, q=6, r=3, s=1, stride=(2, 1)),
    Layer("linear", "linear", m=16, c=32),
]
MACHINE = three_levels(words_per_cycle=2.0, words_per_access=4, leakage_mw=0.1, update_energy_pj=120.0)
SLOW = three_levels(buffer_words=64, read_words_per_cycle=0.3, words_per_cycle=8.0)
PAIRS = [(layer, machine) for layer in LAYERS for machine in (MACHINE, SLOW)]


def converted(value, convert):
    """The same nouns with every array converted."""
    if isinstance(value, np.ndarray):
        return convert(value)
    if isinstance(value, dict):
        return {key: converted(x, convert) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(converted(x, convert) for x in value)
    if is_dataclass(value):
        return replace(value, **{field.name: converted(getattr(value, field.name), convert) for field in fields(value)})
    return value


def nest_of(batch, convert):
    """A mapping by rule: lanes over m and c, all else in time, some of it in the buffer."""
    n, g, m, c, p, q, r, s = batch.layers.bounds
    spatial = [Loop("m", np.minimum(m, 4.0), 1, True), Loop("c", np.minimum(c, 4.0), 1, True)]
    inner = [Loop("r", r, 1), Loop("c", np.ceil(c / 4), 1), Loop("q", q, 1)]
    outer = [Loop("s", s, 0), Loop("p", p, 0), Loop("m", np.ceil(m / 4), 0), Loop("g", g * n, 0)]
    return [Loop(x.dim, convert(x.bound), x.level, x.spatial) for x in (*spatial, *inner, *outer)]


def figures(batch: Batch, nest):
    moved = traffic(nest, batch.structure.homes, len(batch.structure.levels), batch.layers.window)
    cost = price(batch, nest, moved)
    return cost.energy_pj, cost.cycles, cost.bytes_used, fits(batch, moved)


def test_torch_prices_mappings_as_numpy_does():
    torch = pytest.importorskip("torch")
    batch = batch_of(PAIRS)
    tensors = converted(batch, torch.from_numpy)
    ours, theirs = figures(batch, nest_of(batch, np.asarray)), figures(tensors, nest_of(batch, torch.from_numpy))
    for ours_one, theirs_one in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.asarray(ours_one), theirs_one.numpy(), rtol=1e-12)


def test_a_gradient_flows_to_every_energy_and_bandwidth_that_binds():
    torch = pytest.importorskip("torch")
    batch = batch_of(PAIRS)
    leaves = []

    def leaf(array):
        leaves.append(torch.from_numpy(array.copy()).requires_grad_())
        return leaves[-1]

    machines = converted(batch.machines, leaf)
    tensors = replace(converted(batch, torch.from_numpy), machines=machines)
    energy, *_ = figures(tensors, nest_of(batch, torch.from_numpy))
    energy.sum().backward()
    assert all(leaf.grad is None or torch.isfinite(leaf.grad).all() for leaf in leaves)
    assert (machines.read_energy_pj[0].grad > 0).all() and (machines.update_energy_pj[1].grad > 0).all()


def test_one_pair_in_plain_numbers_costs_what_it_costs_in_a_batch():
    batch = batch_of(PAIRS)
    nest = nest_of(batch, np.asarray)
    together = [np.broadcast_to(np.asarray(x), (len(PAIRS), 1)) for x in figures(batch, nest)]
    for i, (layer, machine) in enumerate(PAIRS):
        alone = [Loop(x.dim, float(x.bound[i, 0]), x.level, x.spatial) for x in nest]
        assert [float(x) for x in figures(batch_of_one(layer, machine), alone)] == [float(x[i, 0]) for x in together]
