"""Every experiment that ships is right, as far as its data are at hand."""

from __future__ import annotations

import pytest

from coevo.compare import load_comparison
from coevo.correlate import load_correlation
from coevo.errors import DataError
from coevo.experiment import load_experiment
from coevo.library import list_data


@pytest.mark.parametrize("name", list_data("experiments"))
def test_experiments_are_right_and_named_as_their_files(name):
    try:
        experiment = load_experiment(name)
    except DataError as error:
        pytest.skip(str(error))
    assert experiment.name == name
    assert experiment.description


@pytest.mark.parametrize("name", list_data("experiments/correlations"))
def test_correlations_are_right_and_named_as_their_files(name):
    try:
        correlation = load_correlation(name)
    except DataError as error:
        pytest.skip(str(error))
    assert correlation.spec.name == name
    assert correlation.spec.description


@pytest.mark.parametrize("name", list_data("experiments/comparisons"))
def test_comparisons_are_right_and_named_as_their_files(name):
    try:
        plan = load_comparison(name)
    except DataError as error:
        pytest.skip(str(error))
    assert plan.spec.name == name
    assert plan.spec.description
