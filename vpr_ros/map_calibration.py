# SPDX-License-Identifier: Apache-2.0
"""What `vpr calibrate` records in a map: `calibration` in `map.json`, and how it is read back."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class MapCalibration:
    """A threshold for a wanted precision, and what was measured with it.

    Attributes:
        min_similarity: Cosine similarity from which a best match is accepted, above -1.
        wanted_precision: Fraction.
        precision: Measured, fraction of the accepted that is right.
        precision_at_least: Lower bound of the precision, one-sided, 95 % sure if the accepted
            were independent.
        recall: Measured, fraction of the revisits that is accepted and right.
        num_pairs: Pictures and their best matches that were judged.
        num_accepted: Of these, with at least `min_similarity`.
        source: What they were, for people.
        created: Time of calibration, ISO 8601, UTC.
    """

    min_similarity: float
    wanted_precision: float
    precision: float
    precision_at_least: float
    recall: float
    num_pairs: int
    num_accepted: int
    source: str
    created: str

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ValueError: A value is out of its range; the text names both.
        """
        if not -1 < self.min_similarity <= 1:
            raise ValueError(
                f'min_similarity must lie above -1 and up to 1, not {self.min_similarity}'
            )
        for name in ('wanted_precision', 'precision', 'precision_at_least', 'recall'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'{name} must lie between 0 and 1, not {getattr(self, name)}')
        if not 0 < self.num_accepted <= self.num_pairs:
            raise ValueError(
                f'num_accepted must lie between 1 and num_pairs, not {self.num_accepted} of '
                f'{self.num_pairs}'
            )


def calibration_from_json(content: object) -> MapCalibration:
    """Read what `map.json` holds; keys that are not known are left alone.

    Raises:
        ValueError: A value is missing, of another type or out of its range; the text names it.
    """
    kinds: dict[str, tuple[type, ...]] = {
        'float': (int, float),
        'int': (int,),
        'str': (str,),
    }
    names = {field.name: str(field.type) for field in fields(MapCalibration)}
    if not isinstance(content, dict):
        raise ValueError(f'must be an object of {", ".join(names)}, not {content!r}')
    values: dict[str, Any] = {}
    value: Any
    for name, kind in names.items():
        value = content.get(name)
        if type(value) not in kinds[kind] or (kind == 'float' and not math.isfinite(value)):
            raise ValueError(f'{name} must be a {kind}, not {value!r}')
        values[name] = float(value) if kind == 'float' else value
    return MapCalibration(**values)
