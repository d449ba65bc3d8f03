# SPDX-License-Identifier: Apache-2.0
"""Write a pose graph where other programs read it: g2o, TUM, and a table of the closures.

GTSAM writes g2o too, but with six digits, which is a metre in UTM coordinates.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vpr_ros.atomic_directory import replacing
from vpr_ros.pose_graph.graph import PoseGraph
from vpr_ros.pose_graph.transforms import quaternion_xyzw, translation_first
from vpr_ros.poses import NS_PER_S, Trajectory


def save(graph: PoseGraph, folder: str | Path) -> str:
    """Write a folder as a whole; what it held before is replaced.

    | file | content |
    |---|---|
    | `trajectory.tum` | corrected poses of the base in the map frame, one a node |
    | `odometry.tum` | the same nodes by odometry alone |
    | `pose_graph.g2o` | nodes, odometry and accepted metric closures |
    | `closures.csv` | every closure, with decision, reason and chi-square |

    Returns:
        What was written, for people.

    Raises:
        OSError: The folder cannot be written.
    """
    with replacing(Path(folder)) as new:
        write_tum(new / 'trajectory.tum', graph.trajectory())
        write_tum(new / 'odometry.tum', graph.odometry())
        edges = [*graph.links(), *graph.closures()]
        write_g2o(new / 'pose_graph.g2o', graph.map_from_base(), edges)
        write_closures(new / 'closures.csv', graph)
    return (
        f'{len(graph.nodes)} nodes, {len(graph.closures())} metric closures, '
        f'{len(graph.decisions)} closures in all, in {folder}'
    )


def write_tum(path: Path, trajectory: Trajectory) -> None:
    """Write `stamp tx ty tz qx qy qz qw` a line, seconds with all nine digits."""
    poses = np.hstack([trajectory.positions, trajectory.orientations_xyzw])
    lines = [
        f'{seconds_text(stamp_ns)} {" ".join(f"{value:.9f}" for value in pose)}\n'
        for stamp_ns, pose in zip(trajectory.stamps_ns.tolist(), poses.tolist(), strict=True)
    ]
    path.write_text('# timestamp tx ty tz qx qy qz qw\n' + ''.join(lines), encoding='utf-8')


GraphEdge = tuple[int, int, np.ndarray, np.ndarray]


def write_g2o(path: Path, vertices: np.ndarray, edges: Iterable[GraphEdge]) -> None:
    """Write VERTEX_SE3:QUAT and EDGE_SE3:QUAT; the first vertex is fixed.

    g2o has no edge for a direction without a length: such closures have moved the vertices, and
    stand in closures.csv alone.

    Args:
        path: The file.
        vertices: (N, 4, 4) poses, numbered as they come.
        edges: Numbers of two vertices, first_from_second (4, 4), and the covariance (6, 6) of a
            small motion of the second.
    """
    lines = [f'VERTEX_SE3:QUAT {i} {pose_text(pose)}\n' for i, pose in enumerate(vertices)]
    if lines:
        lines.append('FIX 0\n')
    for first, second, measured, covariance in edges:
        information = translation_first(np.linalg.inv(covariance))
        upper = ' '.join(f'{value:.9g}' for value in information[np.triu_indices(6)])
        lines.append(f'EDGE_SE3:QUAT {first} {second} {pose_text(measured)} {upper}\n')
    path.write_text(''.join(lines), encoding='utf-8')


def write_closures(path: Path, graph: PoseGraph) -> None:
    """Write every closure with what became of it."""
    with path.open('w', encoding='utf-8', newline='') as file:
        rows = csv.writer(file)
        rows.writerow(
            ['query_stamp', 'match_stamp', 'kind', 'outcome', 'chi2', 'weight', 'reason']
            + [f'match_from_query_{name}' for name in ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')]
        )
        for _, decision in sorted(graph.decisions.items()):
            closure = decision.closure
            rows.writerow(
                [
                    seconds_text(closure.query_stamp_ns),
                    seconds_text(closure.match_stamp_ns),
                    closure.kind.value,
                    decision.outcome.value,
                    f'{decision.chi2:.6g}',
                    f'{decision.weight:.3g}',
                    decision.reason,
                    *pose_text(closure.match_from_query).split(),
                ]
            )


def seconds_text(stamp_ns: int) -> str:
    """Return nanoseconds as seconds with all nine digits."""
    sign = '-' if stamp_ns < 0 else ''
    seconds, rest = divmod(abs(stamp_ns), NS_PER_S)
    return f'{sign}{seconds}.{rest:09d}'


def pose_text(pose: np.ndarray) -> str:
    """Return x y z qx qy qz qw of a pose (4, 4); nan where it is none."""
    if not np.isfinite(pose).all():
        return ' '.join(['nan'] * 7)
    values = [*pose[:3, 3].tolist(), *quaternion_xyzw(pose).tolist()]
    return ' '.join(f'{value:.9f}' for value in values)
