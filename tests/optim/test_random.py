from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from coevo.optim.random import RandomSearch, RandomSettings

from .problem import AnalyticProblem


def test_every_choice_of_an_unconditional_gene_is_as_likely():
    problem = AnalyticProblem()
    genomes = RandomSearch(problem, RandomSettings(batch=3000), np.random.default_rng(0)).ask()
    width = [gene.name for gene in problem.space.genes].index("net.stage0.width")
    counts = np.bincount(genomes[:, width], minlength=5)
    np.testing.assert_allclose(counts, 600, rtol=0.15)


def test_asks_as_many_as_the_batch_and_never_scores_hardware():
    problem = AnalyticProblem()
    assert len(RandomSearch(problem, RandomSettings(batch=7), np.random.default_rng(0)).ask()) == 7
    assert problem.scored == 0


def test_an_empty_batch_is_refused():
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        RandomSettings(batch=0)
