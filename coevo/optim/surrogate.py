"""Gaussian processes of Bayesian optimisation, from BoTorch; imported only where it is used.

M. Balandat et al., "BoTorch: A Framework for Efficient Monte-Carlo Bayesian Optimization", NeurIPS 2020.
"""

from __future__ import annotations

import gpytorch
import numpy as np
import torch
from botorch.models import SingleTaskGP
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from botorch.optim.fit import fit_gpytorch_mll_scipy
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from coevo.protocols import Array

MOST_FITTED = 200
"""Rows that a kernel is fitted to; all count once it is. A fit's time grows with the cube of their number."""
MOST_JITTERS = 6
"""Tenfold growths of the jitter, from 1e-8, with which a factorisation is tried: designs that look alike are many."""
FIRST_STEPS, LATER_STEPS = 60, 20
"""Steps of L-BFGS-B for a kernel's first fit, and for one that starts from the last."""


class Surrogates:
    """One Gaussian process for each quantity learnt; a kernel's fit starts from the quantity's last."""

    def __init__(self) -> None:
        self._kernels: dict[str, dict[str, Tensor]] = {}

    def draws(
        self, quantity: str, inputs: Array, targets: Array, wanted: Array, count: int, rng: np.random.Generator
    ) -> Array:
        """Fits a process and draws what a quantity may be, without noise, for all wanted rows together.

        A Matern 5/2 kernel with one length per feature, under priors that grow with the number of features (C.
        Hvarfner, E. Hellsten and L. Nardi, "Vanilla Bayesian Optimization Performs Great in High Dimensions", ICML
        2024).

        Args:
            quantity: Its name.
            inputs: ``(row, feature)``, 0..1.
            targets: ``(row,)``.
            wanted: ``(wanted, feature)``; equal rows get equal draws.
            count: How many draws.
            rng: Source of randomness, for rows left out; PyTorch's must be contained.

        Returns:
            ``(draw, wanted)``.
        """
        middle, deviation = targets.mean(), targets.std() or 1.0
        features, standard = torch.as_tensor(inputs), torch.as_tensor((targets - middle) / deviation)[:, None]
        rows = np.sort(rng.permutation(len(inputs))[:MOST_FITTED])
        exact = gpytorch.settings.fast_computations(covar_root_decomposition=False, log_prob=False, solves=False)
        with exact, gpytorch.settings.cholesky_max_tries(MOST_JITTERS):
            fitted = _process(features[rows], standard[rows])
            if (near := self._kernels.get(quantity)) is not None:
                fitted.load_state_dict(near)
            likelihood = ExactMarginalLogLikelihood(fitted.likelihood, fitted)
            steps = FIRST_STEPS if near is None else LATER_STEPS
            fit_gpytorch_mll_scipy(likelihood.train(), options={"maxiter": steps})
            self._kernels[quantity] = {name: value.clone() for name, value in fitted.state_dict().items()}
            process = _process(features, standard)
            process.load_state_dict(fitted.state_dict())
            distinct, where = np.unique(wanted, axis=0, return_inverse=True)
            with torch.no_grad():
                drawn = process.posterior(torch.as_tensor(distinct)).rsample(torch.Size([count]))[..., 0]
        return np.asarray(middle + deviation * drawn.numpy()[:, where.reshape(-1)])


def _process(inputs: Tensor, targets: Tensor) -> SingleTaskGP:
    kernel = get_covar_module_with_dim_scaled_prior(ard_num_dims=inputs.shape[1], use_rbf_kernel=False)
    return SingleTaskGP(inputs, targets, covar_module=kernel, outcome_transform=None)
