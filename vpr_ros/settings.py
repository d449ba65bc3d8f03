# SPDX-License-Identifier: Apache-2.0
"""Settings as fields of dataclasses: what each means, and what values it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any


def setting(
    default: Any,
    description: str,
    *,
    range: tuple[float, float] | None = None,
    choices: Sequence[str] | None = None,
    items: type | None = None,
) -> Any:
    """Return a dataclass field that users can set.

    Args:
        default: Of the type that all its values have; a list's is a tuple.
        description: One sentence.
        range: Smallest and largest number; None: any.
        choices: The accepted texts; None: any.
        items: Type of what is in a list, str or float; None for what is no list.
    """
    limits = {
        'range': range,
        'choices': None if choices is None else tuple(choices),
        'items': items,
    }
    given = {name: limit for name, limit in limits.items() if limit is not None}
    return dataclasses.field(default=default, metadata={'description': description, **given})


def check_settings(config: Any) -> None:
    """Refuse what lies outside the stated ranges and choices.

    Args:
        config: A dataclass; fields without limits are not looked at.

    Raises:
        ValueError: The text names the field, its value and what it takes.
    """
    for spec in dataclasses.fields(config):
        value = getattr(config, spec.name)
        if (choices := spec.metadata.get('choices')) and value not in choices:
            raise ValueError(f'{spec.name} must be one of {", ".join(choices)}, not {value!r}')
        if limits := spec.metadata.get('range'):
            low, high = limits
            if not low <= value <= high:
                raise ValueError(f'{spec.name} must lie between {low} and {high}, not {value}')
