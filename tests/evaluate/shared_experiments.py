"""Experiments that tests of more than one folder run."""

SEVERAL_PARTS = """\
schema: 1
name: parts
network: {space: digits_mbconv}
accelerators: [nvdla_shidiannao]
objectives: [interval, energy]
deployment: {channels: 1, resolution: 8, classes: 10}
cost: {name: analytical, assign: interval}
budget: {designs: 3}
"""
"""A machine of several parts, three designs, nothing trained."""
