# SPDX-License-Identifier: Apache-2.0
"""What a run says of itself in metrics.json and in the report: enough to do it again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpr_ros import __version__

if TYPE_CHECKING:
    from vpr_ros.cli.truth_options import Judge
    from vpr_ros.model_ref import ModelRef
    from vpr_ros.place_map import PlaceMap
    from vpr_ros.sources import AnySource


def describe(
    args: argparse.Namespace,
    model: ModelRef,
    configuration: Mapping[str, Any],
    *,
    provider: str,
    **more: Any,
) -> dict[str, Any]:
    """Return when, by what command, with what model and settings; JSON values.

    Args:
        args: The command line.
        model: The model.
        configuration: Of the recognizer.
        provider: What the model ran on, in the words of onnxruntime.
        **more: What else the run tells.
    """
    import numpy as np

    return {
        'created': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'command': args.command_line,
        'model': asdict(model),
        'provider': provider,
        'configuration': dict(configuration),
        **more,
        'versions': {
            'vpr_ros': __version__,
            'python': sys.version.split()[0],
            'numpy': np.__version__,
        },
    }


def short_name(path: Path) -> str:
    """Return the last two parts of a path: `rgb` alone is the name of many a folder."""
    return '/'.join(path.resolve().parts[-2:])


def describe_source(source: AnySource) -> dict[str, Any]:
    """Name a source and its topics."""
    from vpr_ros.sources import BagSource

    said: dict[str, Any] = {'path': str(source.path), 'num_pictures': source.num_frames}
    if isinstance(source, BagSource):
        said['topics'] = [topic.name for topic in source.topics]
        said['stamps'] = source.stamps
    return said


def describe_map(place_map: PlaceMap) -> dict[str, Any]:
    """Name a saved map and the hash of its manifest, which holds those of its files."""
    from vpr_ros.hashing import file_sha256
    from vpr_ros.place_map import MANIFEST

    assert place_map.directory is not None
    return {
        'path': str(place_map.directory),
        'num_places': len(place_map),
        'frame_id': place_map.frame_id,
        'sha256': file_sha256(place_map.directory / MANIFEST),
    }


def describe_truth(judge: Judge) -> dict[str, Any]:
    """Say what the answers are judged by."""
    args = judge.args
    said: dict[str, Any] = {'kind': judge.kind}
    if judge.kind == 'pose':
        said['poses'] = str(args.poses or args.pose_topic or 'the only pose topic of the bag')
        for name in ('reference_poses', 'reference_pose_topic'):
            if getattr(args, name, None) is not None:
                said[name] = str(getattr(args, name))
        said |= {'within_m': args.within, 'within_deg': args.within_angle}
        said |= {'max_pose_gap_s': args.max_pose_gap, 'time_offset_s': args.time_offset}
        said['poses_left_out'] = dict(judge.left_out)
    elif judge.kind in ('order', 'pairs'):
        said['tolerance'] = judge.tolerance
    return said
