# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from training.whitening import fit_projection


def correlated(count, width):
    rng = np.random.default_rng(0)
    scales = np.linspace(10, 1, width)
    basis, _ = np.linalg.qr(rng.normal(size=(width, width)))
    return (rng.normal(size=(count, width)) * scales @ basis + 3.0).astype(np.float32)


def test_what_comes_out_is_white():
    descriptors = correlated(4000, 8)
    projected = fit_projection(descriptors, 5)(torch.from_numpy(descriptors)).detach().numpy()
    covariance = np.cov(projected, rowvar=False)
    assert np.allclose(covariance / covariance[0, 0], np.eye(5), atol=0.02)
    assert np.allclose(projected.mean(axis=0), 0, atol=1e-3)


def test_without_whitening_the_large_directions_stay_large():
    descriptors = correlated(4000, 8)
    layer = fit_projection(descriptors, 8, power=0.0)
    projected = layer(torch.from_numpy(descriptors)).detach().numpy()
    spread = projected.std(axis=0)
    assert spread[0] / spread[-1] == pytest.approx(10, rel=0.1)
    distances = np.linalg.norm(descriptors[:50, None] - descriptors[None, :50], axis=2)
    kept = np.linalg.norm(projected[:50, None] - projected[None, :50], axis=2)
    assert np.allclose(kept / distances.max(), distances / distances.max() * (
        kept.max() / distances.max()), atol=1e-3)  # fmt: skip


def test_descriptors_that_are_all_alike_are_refused():
    alike = np.full((40, 8), 0.5, np.float32) + 1e-8 * correlated(40, 8)
    with pytest.raises(ValueError, match='differ in fewer than 3 directions'):
        fit_projection(alike, 3)


@pytest.mark.parametrize(('count', 'width', 'size'), [(20, 8, 9), (5, 8, 5)])
def test_too_few_pictures_or_values_are_refused(count, width, size):
    with pytest.raises(ValueError, match=f'{count} descriptors of {width} values span at most'):
        fit_projection(correlated(count, width), size)
