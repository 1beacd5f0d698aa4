from __future__ import annotations

import pytest

from coevo.report.details import shape_text
from coevo.workload import Layer


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (
            Layer("a", "conv", m=64, c=16, p=8, q=8, r=3, s=3, stride=(2, 2)),
            "16→64 channels, 8×8 out, 3×3 window, stride 2",
        ),
        (Layer("a", "linear", m=10, c=96), "96→10 features"),
        (Layer("a", "matmul", g=2, m=17, c=8, p=17), "17×8 by 8×17, 2 products"),
        (Layer("a", "matmul", n=3, m=4, c=8, p=17), "17×8 by 8×4, batch 3"),
        (Layer("a", "softmax", g=2, c=3, p=17, q=17), "2 channels, 17×17, 3 passes"),
        (Layer("a", "norm", g=16, p=4, q=4), "16 channels, 4×4"),
    ],
)
def test_a_layers_shape_says_what_it_reads_and_makes(layer: Layer, text: str) -> None:
    assert shape_text(layer) == text
