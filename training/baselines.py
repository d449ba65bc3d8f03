# SPDX-License-Identifier: Apache-2.0
"""What a model is compared with: classical descriptors that learn no network.

* `hog`: histograms of oriented gradients of the whole picture (Dalal and Triggs, CVPR 2005), with
  the sizes of VPR-Bench (Zaffar et al., IJCV 2021): 512x512 pixels, cells of 16, blocks of 32.
* `orb-words`: a bag of ORB features (Rublee et al., ICCV 2011) with tf-idf weights (Sivic and
  Zisserman, ICCV 2003), as ORB-SLAM and its kin close loops; the words are learned from training
  pictures. One flat vocabulary: what DBoW2's tree speeds up is not the question here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import cv2
import numpy as np
from sklearn.cluster import MiniBatchKMeans

from vpr_ros.benchmarks.retrieval import Describer
from vpr_ros.model_ref import ModelRef

HOG_SIDE, HOG_BLOCK, HOG_CELL, HOG_BINS = 512, 32, 16, 9  # pixels
ORB_FEATURES = 500  # a picture
ORB_BITS = 256
WORDS = 2000

Pictures = Sequence[np.ndarray]  # uint8 RGB (H, W, 3)


def hog() -> Describer:
    """Describe pictures by their gradients."""
    histograms = cv2.HOGDescriptor(
        (HOG_SIDE, HOG_SIDE), (HOG_BLOCK, HOG_BLOCK), (HOG_CELL, HOG_CELL),
        (HOG_CELL, HOG_CELL), HOG_BINS,
    )  # fmt: skip

    def extract_batch(pictures: Pictures) -> np.ndarray:
        grey = [cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in pictures]
        sized = [cv2.resize(g, (HOG_SIDE, HOG_SIDE), interpolation=cv2.INTER_AREA) for g in grey]
        return _unit(np.stack([histograms.compute(picture).ravel() for picture in sized]))

    return Describer(_ref('hog', histograms.getDescriptorSize()), extract_batch)


def orb_words(training: Pictures, *, words: int = WORDS) -> Describer:
    """Describe pictures by the words that they hold.

    Args:
        training: Pictures that words and weights are learned from; no test picture is among them.
        words: Size of the vocabulary.

    Raises:
        ValueError: The pictures have too few features for so many words.
    """
    detector = cv2.ORB_create(ORB_FEATURES)
    found = [_orb_bits(detector, rgb) for rgb in training]
    bits = np.concatenate(found)
    if len(bits) < words:
        raise ValueError(
            f'{len(training)} pictures have {len(bits)} ORB features, too few for {words} words'
        )
    vocabulary = MiniBatchKMeans(words, batch_size=10 * words, n_init=1, random_state=1).fit(bits)
    counts = np.stack([_count(vocabulary, features, words) for features in found])
    rarity = np.log(len(counts) / np.maximum(1, (counts > 0).sum(axis=0)))

    def extract_batch(pictures: Pictures) -> np.ndarray:
        features = [_orb_bits(detector, rgb) for rgb in pictures]
        return _unit(np.stack([_count(vocabulary, f, words) * rarity for f in features]))

    return Describer(_ref('orb-words', words), extract_batch)


def _orb_bits(detector: cv2.ORB, rgb: np.ndarray) -> np.ndarray:
    """Return the features of a picture as (F, 256) float32 of zeros and ones."""
    _, features = detector.detectAndCompute(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), None)
    if features is None:
        return np.zeros((0, ORB_BITS), np.float32)
    return np.unpackbits(features, axis=1).astype(np.float32)


def _count(vocabulary: MiniBatchKMeans, features: np.ndarray, words: int) -> np.ndarray:
    """Count the words among the features; a picture without any counts one word of each."""
    if not len(features):
        return np.ones(words)
    return np.bincount(vocabulary.predict(features), minlength=words).astype(float)


def _unit(descriptors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(descriptors, axis=1, keepdims=True)
    return (descriptors / np.maximum(norms, 1e-12)).astype(np.float32)


def _ref(name: str, size: int) -> ModelRef:
    return ModelRef(name, hashlib.sha256(name.encode()).hexdigest(), size)
