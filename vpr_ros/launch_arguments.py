# SPDX-License-Identifier: Apache-2.0
"""What the launch files do with the texts that their arguments are."""

from __future__ import annotations

LISTS = {'cameras': str, 'body_from_camera': float}  # arguments that are lists, of what


def items_of(text: str, kind: type) -> list:
    """Read `[a, b]`, with or without the brackets, whatever YAML would make of the items."""
    words = text.strip().removeprefix('[').removesuffix(']').split(',')
    return [kind(word.strip()) for word in words if word.strip()]


def log_level_of(node: str, namespace: str, level: str) -> list[str]:
    """Return the arguments of a node that set its own level: all debug messages would bury it."""
    logger = '.'.join([*namespace.strip('/').split('/'), node]).lstrip('.')
    return ['--ros-args', '--log-level', f'{logger}:={level}']
