# SPDX-License-Identifier: Apache-2.0
"""What became of the pictures of a live run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """Pictures on their way: sent by the player, answered; the rest by the node's own words.

    Attributes:
        sent: Handed to DDS.
        received: Arrived at the node.
        processed: Answered.
        dropped: Replaced by a newer one before the node was free.
        others: Skipped for `max_rate`, ignored while disabled, refused for their encoding, failed.
    """

    sent: int
    received: int
    processed: int
    dropped: int
    others: int = 0

    @property
    def overtaken(self) -> int:
        """Replaced in DDS by a newer one, or lost there."""
        return self.sent - self.received
