# SPDX-License-Identifier: Apache-2.0
"""The name tag that binds a map to the model that made it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelRef:
    """What a map records of the model that made its descriptors.

    Attributes:
        name: Name of the model, for people.
        sha256: SHA-256 of the model file, hexadecimal: the binding.
        descriptor_size: D.
    """

    name: str
    sha256: str
    descriptor_size: int
