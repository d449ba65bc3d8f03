# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from training.baselines import hog, orb_words

SIZE = {'height': 240, 'width': 320}


@pytest.fixture(params=['hog', 'orb-words'])
def baseline(request, textured_pictures):
    if request.param == 'hog':
        return hog()
    return orb_words(list(textured_pictures(12, **SIZE)), words=200)


def test_a_picture_is_found_under_other_light(baseline, textured_pictures):
    rgbs = list(textured_pictures(12, **SIZE))
    references = baseline.extract_batch(rgbs)
    assert references.shape == (12, baseline.ref.descriptor_size)
    assert references.dtype == np.float32
    assert np.linalg.norm(references, axis=1) == pytest.approx(np.ones(12), abs=1e-5)
    darker = baseline.extract_batch([(rgb * 0.7).astype(np.uint8) for rgb in rgbs])
    assert (darker @ references.T).argmax(axis=1).tolist() == list(range(12))


def test_a_picture_without_features_has_a_descriptor(baseline):
    flat = baseline.extract_batch([np.full((120, 160, 3), 90, np.uint8)])
    assert np.isfinite(flat).all()


def test_a_vocabulary_needs_features():
    with pytest.raises(ValueError, match='2 pictures have 0 ORB features, too few for 2000 words'):
        orb_words([np.zeros((120, 160, 3), np.uint8)] * 2)
