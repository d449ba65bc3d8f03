# SPDX-License-Identifier: Apache-2.0
"""Write a trained network as one ONNX file that carries its own record.

`python training/export_onnx.py CHECKPOINT OUT.onnx --pictures DIR`; a checkpoint of
training/train.py or a released MixVPR one, told apart by what it holds; or in its place
`imagenet:BACKBONE`, the reference that has learned no places: ImageNet weights and GeM pooling.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import onnx
import torch

from training.config import TrainConfig, config_from_dict
from training.models import Network, build_network
from training.models.checkpoint import load_released_mixvpr, network_weights, read_checkpoint
from vpr_ros import extractor
from vpr_ros.errors import ModelError
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.hashing import file_sha256
from vpr_ros.picture_folder import PICTURE_SUFFIXES, read_picture
from vpr_ros.preprocess import Preprocess

OPSET = 17
MIN_PARITY_COSINE = 0.99999
PARITY_PICTURES = 16
USUAL_SIZE = 320  # pixels a side, of the released MixVPR and of the untrained reference
RELEASED_DATA = 'GSV-Cities'
LICENSE = 'weights follow the terms of the training pictures (research only); code Apache-2.0'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='file, or imagenet:BACKBONE')
    parser.add_argument('output', type=Path)
    parser.add_argument(
        '--pictures', type=Path, required=True, help='folder of real pictures for the parity check'
    )
    parser.add_argument('--license', default=LICENSE, help='terms of the weights')
    arguments = parser.parse_args(argv)
    source, _, backbone = arguments.checkpoint.partition(':')
    if source == 'imagenet':
        network, record = load_untrained(backbone)
    else:
        network, record = load_trained(Path(arguments.checkpoint))
    record[extractor.KEY_LICENSE] = arguments.license
    cosine = export(network, arguments.output, record, read_pictures(arguments.pictures))
    size = arguments.output.stat().st_size / 1e6
    print(f'{arguments.output}: {size:.1f} MB, torch and onnxruntime agree to cosine {cosine:.7f}')
    return 0


def load_trained(checkpoint_path: Path) -> tuple[Network, dict[str, str]]:
    """Build the network of a checkpoint.

    Returns:
        Network in evaluation mode, and its record as far as the checkpoint tells it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is neither a checkpoint of train.py nor a released MixVPR one.
    """
    checkpoint = read_checkpoint(checkpoint_path)
    weights = network_weights(checkpoint)
    if 'config' in checkpoint:
        config = config_from_dict(checkpoint['config'])
        network = build_network(config)
        network.load_state_dict(weights)
        name, data, size = config.name, describe_data(config), (config.height, config.width)
    else:
        network = load_released_mixvpr(weights)
        name, data, size = checkpoint_path.stem, RELEASED_DATA, (USUAL_SIZE, USUAL_SIZE)
    record = _record(network, name, data, Preprocess(*size), file_sha256(checkpoint_path))
    return network.eval(), record


def load_untrained(backbone: str) -> tuple[Network, dict[str, str]]:
    """Build the reference: ImageNet weights, GeM pooling, nothing learned about places."""
    config = TrainConfig(backbone=backbone, aggregator='gem', height=USUAL_SIZE, width=USUAL_SIZE)
    network = build_network(config)
    network.backbone.load_pretrained()
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    preprocess = Preprocess(config.height, config.width)
    record = _record(network, f'{backbone}_gem', 'ImageNet', preprocess, digest.hexdigest())
    return network.eval(), record


def describe_data(config: TrainConfig) -> str:
    """Name the training data of a run."""
    sources = (config.gsv, f'{config.cameras}/train' if config.cameras else '', config.clips)
    return ', '.join(filter(None, sources))


def _record(
    network: Network, name: str, training_data: str, preprocess: Preprocess, source_sha256: str
) -> dict[str, str]:
    """Return the ONNX metadata that the runtime asks for."""
    return {
        extractor.KEY_SCHEMA: extractor.METADATA_SCHEMA_VERSION,
        extractor.KEY_NAME: name,
        extractor.KEY_DESCRIPTOR_SIZE: str(network.descriptor_size),
        extractor.KEY_PREPROCESS: preprocess.to_json(),
        extractor.KEY_TRAINING_DATA: training_data,
        extractor.KEY_SOURCE_SHA256: source_sha256,
        extractor.KEY_LICENSE: LICENSE,
    }


def read_pictures(folder: Path, count: int = PARITY_PICTURES) -> list[np.ndarray]:
    """Read some pictures spread over a folder and its subfolders.

    Raises:
        FileNotFoundError: There is none.
    """
    files = sorted(p for p in Path(folder).rglob('*') if p.suffix.lower() in PICTURE_SUFFIXES)
    if not files:
        raise FileNotFoundError(f'no pictures in {folder}; the parity check needs some')
    return [read_picture(path) for path in files[:: -(-len(files) // count)]]


def export(
    network: Network, output: Path, record: Mapping[str, str], pictures: Sequence[np.ndarray]
) -> float:
    """Write the file if, and only if, onnxruntime answers as torch does.

    Args:
        network: The network, in evaluation mode.
        output: The file to write; an old one is replaced at the very end.
        record: Metadata, see `load_trained`.
        pictures: Real pictures, uint8 RGB (H, W, 3), for the comparison.

    Returns:
        The smallest cosine similarity between the two answers.

    Raises:
        ModelError: The answers differ, or the runtime refuses the file; nothing is written.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        draft = Path(folder) / output.name
        preprocess = Preprocess.from_json(record[extractor.KEY_PREPROCESS])
        write_onnx(network, draft, preprocess)
        write_record(draft, record)
        cosine = parity(network, draft, pictures)
        if not cosine >= MIN_PARITY_COSINE:
            raise ModelError(
                f'torch and onnxruntime disagree: cosine {cosine:.6f}, at least '
                f'{MIN_PARITY_COSINE} is asked for; {output} is not written'
            )
        draft.replace(output)
    return cosine


def write_onnx(network: Network, path: Path, preprocess: Preprocess) -> None:
    """Write the bare graph with a dynamic batch, weights inside."""
    example = torch.zeros(1, preprocess.height, preprocess.width, 3, dtype=torch.uint8)
    torch.onnx.export(
        network,
        (example,),
        str(path),
        input_names=[extractor.INPUT_NAME],
        output_names=[extractor.OUTPUT_NAME],
        dynamic_axes={extractor.INPUT_NAME: {0: 'B'}, extractor.OUTPUT_NAME: {0: 'B'}},
        opset_version=OPSET,
        dynamo=False,  # the dynamo exporter writes the weights into a second file
    )


def write_record(path: Path, record: Mapping[str, str]) -> None:
    """Add to, or replace in, the metadata of an ONNX file; the file changes in one step."""
    model = onnx.load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props} | dict(record)
    onnx.helper.set_model_props(model, metadata)
    draft = path.with_name(f'.{path.name}.draft')
    onnx.save(model, draft)
    draft.replace(path)


@torch.no_grad()
def parity(network: Network, path: Path, pictures: Sequence[np.ndarray]) -> float:
    """Return the smallest cosine similarity between torch's and the runtime's descriptors."""
    runtime = DescriptorExtractor(path, device='cpu')
    batch = np.stack([runtime.info.preprocess(rgb) for rgb in pictures])
    expected = network(torch.from_numpy(batch)).double().numpy()
    actual = runtime.extract_batch(pictures).astype(np.float64)
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(actual, axis=1)
    return float(((expected * actual).sum(axis=1) / norms).min())


if __name__ == '__main__':
    sys.exit(main())
