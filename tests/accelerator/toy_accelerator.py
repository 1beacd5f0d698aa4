"""A small accelerator file that is right in every field."""

GOOD = """\
schema: 1
name: toy
description: a small machine
technology_nm: 45
clock_mhz: 500
word_bits: {weights: 8, inputs: 8, outputs: 16}
mac: {energy_pj: 0.4}
pe_array: {rows: 4, columns: 8}
memories:
  - {name: dram, kind: dram, holds: [weights, inputs, outputs], words_per_cycle: 4}
  - {name: glb, kind: sram, holds: [inputs, outputs], size_kib: 64, words_per_access: 4, read_energy_pj: 10}
  - {name: spad, kind: registers, holds: [weights], size_words: 16, double_buffered: true}
dataflow: weight_stationary
vary:
  memories.glb.size_kib: {from: 32, to: 128, times: 2}
  pe_array.rows: {from: 2, to: 9, step: 3}
  dataflow: {any_of: [weight_stationary, free]}
"""
