# SPDX-License-Identifier: Apache-2.0
"""Model, map and recognizer behind the node, shared by its threads; no rclpy."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np

from vpr_ros import resources
from vpr_ros.errors import MapError
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.node.parameters import NodeConfig
from vpr_ros.place_map import PlaceMap
from vpr_ros.recognizer import PlaceRecognizer, Recognition, RecognizerConfig

logger = logging.getLogger(__name__)

_BACKWARD_NS = 100_000_000  # two pictures of one camera may arrive swapped; a looped bag is more


@dataclass(frozen=True)
class Answer:
    """A recognition and the map it is about (which may have been replaced since).

    Attributes:
        recognition: What was found.
        place_map: The map that was searched.
        map_frame_id: Frame of that map's poses.
    """

    recognition: Recognition
    place_map: PlaceMap
    map_frame_id: str


class Engine:
    """Loads what the configuration names; then recognises, from any thread.

    Attributes:
        extractor: The model that runs.
    """

    def __init__(self, config: NodeConfig, recognizer_config: RecognizerConfig) -> None:
        """Load model and map.

        Raises:
            VprError, OSError: Either cannot be used; the text says why and what to do.
        """
        self._frame_override = config.map_frame_id
        self.extractor = DescriptorExtractor(
            config.model or resources.default_model(),
            device=config.device,
            num_threads=config.num_threads,
        )
        place_map = self._read(config.map) if config.map else PlaceMap(self.extractor.info.ref)
        self._recognizer = PlaceRecognizer(self.extractor, place_map, recognizer_config)
        self._last_stamp_ns: int | None = None
        self._lock = threading.Lock()

    @property
    def place_map(self) -> PlaceMap:
        """The map in use."""
        return self._recognizer.place_map

    @property
    def map_frame_id(self) -> str:
        """Frame of the poses of the map in use."""
        return self._frame_override or self.place_map.frame_id

    @property
    def min_similarity(self) -> float:
        """The threshold in force, cosine similarity."""
        return self._recognizer.min_similarity

    @property
    def config(self) -> RecognizerConfig:
        """The thresholds in force; assign to change them."""
        return self._recognizer.config

    @config.setter
    def config(self, config: RecognizerConfig) -> None:
        with self._lock:
            self._recognizer.config = config

    def check(self, config: RecognizerConfig) -> None:
        """Refuse thresholds that this model cannot run with, without using them.

        Raises:
            ModelError: A threshold of the model is wanted and it records none.
        """
        PlaceRecognizer(self.extractor, PlaceMap(self.extractor.info.ref), config)

    def summary(self) -> dict[str, str | int | float]:
        """Return what runs, for the log."""
        info, place_map = self.extractor.info, self.place_map
        return {
            'model file': str(info.path),
            'model name': info.name,
            'model sha256': info.sha256,
            'provider': f'{self.extractor.provider} ({self.extractor.provider_reason})',
            'min_similarity in force': self.min_similarity,
            'map url': place_map.url,
            'map places': len(place_map),
            'map frame': self.map_frame_id,
        }

    def process(self, rgb: np.ndarray, stamp_ns: int) -> Answer:
        """Recognise the next picture of the stream.

        Args:
            rgb: uint8 RGB (H, W, 3).
            stamp_ns: Its stamp; one that lies before the last one resets what depends on time.
        """
        with self._lock:
            last, self._last_stamp_ns = self._last_stamp_ns, stamp_ns
            if last is not None and stamp_ns < last - _BACKWARD_NS:
                logger.warning(
                    'picture stamps jumped back by %.3f s (a bag that loops?): forgetting '
                    'earlier pictures',
                    (last - stamp_ns) * 1e-9,
                )
                self._recognizer.reset()
            return self._answer(self._recognizer.process(rgb, stamp_ns))

    def recognize_once(self, rgb: np.ndarray, stamp_ns: int) -> Answer:
        """Recognise a picture that is no part of the stream and leaves no trace in it."""
        with self._lock:
            beside = PlaceRecognizer(self.extractor, self.place_map, self.config)
            frame_id = self.map_frame_id
        return Answer(beside.process(rgb, stamp_ns), beside.place_map, frame_id)

    def reset(self) -> None:
        """Forget what depends on earlier pictures."""
        with self._lock:
            self._last_stamp_ns = None
            self._recognizer.reset()

    def load_map(self, url: str) -> None:
        """Replace the map in use; it stays in use if the new one cannot be.

        Args:
            url: Map directory, a path or a file:// URL.

        Raises:
            FileNotFoundError: No map there.
            MapModelMismatchError: Made by another model.
            MapError: Damaged, or no such kind of URL.
        """
        place_map = self._read(url)  # slow, so before the lock
        with self._lock:
            self._recognizer.place_map = place_map
            self._recognizer.reset()

    def _read(self, url: str) -> PlaceMap:
        return PlaceMap.load(directory_of(url), model=self.extractor.info.ref)

    def _answer(self, recognition: Recognition) -> Answer:
        return Answer(recognition, self.place_map, self.map_frame_id)


def directory_of(url: str) -> Path:
    """Return the directory that a path or a file:// URL names.

    Raises:
        MapError: It is empty, of another scheme or of another machine.
    """
    if not url:
        raise MapError('no map was named: give a directory or a file:// URL')
    if '://' not in url:
        return Path(url).expanduser()
    parts = urlsplit(url)
    if parts.scheme != 'file' or parts.netloc not in ('', 'localhost'):
        raise MapError(f'{url!r} cannot be read: give a directory or file:///absolute/path')
    return Path(unquote(parts.path))
