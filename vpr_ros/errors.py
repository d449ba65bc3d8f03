# SPDX-License-Identifier: Apache-2.0
"""Every mistake a user can make has a type here; its text names the value, the place, the remedy.

The core raises; the edges (command line, node) catch `VprError` and `OSError`, report them once
and catch nothing else.
"""


class VprError(Exception):
    """Base of all errors that a user can cause and mend."""


class ModelError(VprError):
    """A model file that the runtime cannot use."""


class DeviceError(VprError):
    """A device that was asked for by name and cannot run the model."""


class MapError(VprError):
    """A map directory that is damaged, incomplete or not a map."""


class MapModelMismatchError(MapError):
    """A sound map whose descriptors come from another model."""


class SourceError(VprError):
    """A folder, video, bag or pose file that cannot be read as asked."""


class EncodingError(VprError):
    """A picture whose encoding or layout is not accepted."""


class PoseGraphError(VprError):
    """A pose graph that cannot be made, optimised or written."""


class CalibrationError(VprError):
    """A threshold that cannot be chosen from what there is."""
