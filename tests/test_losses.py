"""Losses of numbers: against scikit-learn's, and quantiles that are the data's and never cross."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import d2_pinball_score, mean_absolute_error, mean_pinball_loss, mean_poisson_deviance
from torch.nn.functional import huber_loss

from droplab.model.losses import ascending, numbers_of, of_numbers, output_of

OUTPUTS = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0)).double()
TARGETS = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(1)).double() * 2


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("squared_error", lambda said, y: ((said - y) ** 2).mean() / 2),
        ("absolute_error", mean_absolute_error),
        ("poisson", lambda said, y: mean_poisson_deviance(y.ravel(), said.ravel()) / 2),
        ("huber", lambda said, y: float(huber_loss(torch.tensor(said), torch.tensor(y)))),
    ],
)
def test_a_loss_is_the_sum_over_targets_of_what_scikit_learn_has(loss, expected):
    targets = TARGETS.abs() if loss == "poisson" else TARGETS
    each = of_numbers(loss, OUTPUTS, targets)
    assert each.shape == (2, 40)
    for r in range(2):
        said = numbers_of(output_of(loss), OUTPUTS, 1)[r].numpy()
        assert float(each[r].mean()) / 3 == pytest.approx(expected(said, targets[r].numpy()))


def test_the_loss_of_quantiles_is_the_mean_pinball_loss_over_levels():
    levels, targets = (0.1, 0.5, 0.9), TARGETS[..., :1]
    said = ascending(OUTPUTS, 3)[0, :, 0].numpy()
    expected = np.mean([mean_pinball_loss(targets[0, :, 0], said[:, k], alpha=q) for k, q in enumerate(levels)])
    assert float(of_numbers("quantile", OUTPUTS, targets, levels)[0].mean()) == pytest.approx(expected)


def test_trained_outputs_become_the_quantiles_of_the_data():
    y = torch.from_numpy(np.random.default_rng(0).gamma(2, size=(1, 2000, 1)))
    outputs = torch.zeros(1, 1, 2, dtype=torch.float64, requires_grad=True)
    descent = torch.optim.Adam([outputs], lr=0.05)
    for _ in range(250):
        descent.zero_grad()
        of_numbers("quantile", outputs.expand(1, 2000, 2), y, (0.2, 0.9)).mean().backward()
        descent.step()
    said = ascending(outputs, 2).flatten().tolist()
    assert said == pytest.approx(np.quantile(y.numpy(), [0.2, 0.9]), abs=0.03)
    assert d2_pinball_score(y[0, :, 0], np.full(2000, said[0]), alpha=0.2) == pytest.approx(0, abs=1e-3)


@given(arrays(np.float64, (5, 6), elements=st.floats(-1e6, 1e6)))
def test_quantiles_never_cross(outputs):
    said = ascending(torch.tensor(outputs), 3)
    assert said.shape == (5, 2, 3)
    assert (said.diff(dim=-1) >= 0).all()
