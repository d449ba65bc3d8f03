# SPDX-License-Identifier: Apache-2.0
"""Write a trained network as one ONNX file that carries its own record.

`python training/export_onnx.py --checkpoint FILE --out FILE.onnx`: a checkpoint of
training/train.py or of a published system, told apart by what it holds; several become one model
whose descriptor is theirs side by side. `--pretrained BACKBONE` instead exports the reference that
has learned no places: its published weights and GeM pooling.
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
from PIL import Image

from training.config import TrainConfig, load_config
from training.data import load_places
from training.lower_precision import store_float16, to_float16, to_int8
from training.models import Ensemble, Network, build_network
from training.models.checkpoint import load_network, read_checkpoint
from training.sample_pictures import made_picture, made_pictures, read_pictures
from training.whitening import FULL_WHITENING, fit_projection
from vpr_ros import extractor
from vpr_ros.errors import ModelError
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.hashing import file_sha256
from vpr_ros.picture_folder import read_picture
from vpr_ros.preprocess import Preprocess

OPSET = 17
# Smallest cosine similarity to torch's descriptors, float32; else there is no file.
MIN_PARITY_COSINE = {'fp32': 0.99999, 'fp16-weights': 0.9995, 'fp16': 0.9995, 'int8': 0.99}
LARGEST_FILE = 2**31 - 1  # bytes, of any protobuf message
PARITY_PICTURES = 16
BATCH = 16
CALIBRATION_PICTURES = 256
USUAL_SIZE = 320  # pixels a side, of the untrained reference
RELEASED_DATA = 'GSV-Cities'
LICENSE = 'weights follow the terms of the training pictures (research only); code Apache-2.0'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    arguments = _parse(argv)
    if arguments.pretrained:
        network, record = load_untrained(arguments.pretrained)
    else:
        network, record = load_ensemble(arguments.checkpoint, arguments.shares)
    record[extractor.KEY_LICENSE] = arguments.license
    if arguments.name:
        record[extractor.KEY_NAME] = arguments.name
    if arguments.pictures is None:
        pictures = made_pictures(PARITY_PICTURES)
        print('compared on made pictures; --pictures DIR compares on real ones')
    else:
        wanted = CALIBRATION_PICTURES if arguments.precision == 'int8' else PARITY_PICTURES
        wanted = max(wanted, 2 * max(arguments.size, default=0))
        pictures = read_some(arguments.pictures, wanted)
    power = FULL_WHITENING if arguments.whitening is None else arguments.whitening
    parts = network.members if len(arguments.size) > 1 else [network]
    for part, size in zip(parts, arguments.size, strict=False):
        if size:
            project(part, pictures, size, power=power)
    record[extractor.KEY_DESCRIPTOR_SIZE] = str(network.descriptor_size)
    cosine = export(network, arguments.out, record, pictures, precision=arguments.precision)
    size = arguments.out.stat().st_size / 1e6
    print(
        f'{arguments.out}: {size:.1f} MB, {arguments.precision}, opset {OPSET}; torch (float32) '
        f'and onnxruntime agree to cosine {cosine:.7f}'
    )
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        '--checkpoint', type=Path, nargs='+', metavar='FILE',
        help='ours or of a published system; several become one model',
    )  # fmt: skip
    source.add_argument('--pretrained', metavar='BACKBONE', help='untrained reference')
    parser.add_argument(
        '--shares', type=float, nargs='+', default=[], metavar='S',
        help='of several checkpoints: what each counts in a similarity (default: all alike)',
    )  # fmt: skip
    parser.add_argument('--out', type=Path, required=True, metavar='FILE.onnx')
    parser.add_argument('--name', help='of the model; default: that of the run or the file')
    parser.add_argument('--precision', choices=sorted(MIN_PARITY_COSINE), default='fp32')
    parser.add_argument(
        '--size', type=int, nargs='+', default=[], metavar='D',
        help='project the descriptors to D values (PCA); or those of each of several checkpoints, '
        '0: as they are',
    )  # fmt: skip
    parser.add_argument(
        '--whitening', type=float, metavar='POWER',
        help='of --size: divide by the variances to this power; 0.5 (default) whitens, 0 does not',
    )  # fmt: skip
    parser.add_argument(
        '--pictures', type=Path, metavar='DIR',
        help='real pictures that the answers are compared on; int8 and --size learn from them. '
        'Or config.yaml of a run: the pictures that it trained on',
    )  # fmt: skip
    parser.add_argument('--license', default=LICENSE, help='terms of the weights')
    arguments = parser.parse_args(argv)
    checkpoints = len(arguments.checkpoint or ())
    if arguments.shares and len(arguments.shares) != checkpoints:
        parser.error('--shares wants one number for each --checkpoint')
    if len(arguments.size) > 1 and len(arguments.size) != checkpoints:
        parser.error('--size wants one number, or one for each --checkpoint')
    if any(size < 0 for size in arguments.size) or arguments.size == [0]:
        parser.error(f'--size wants numbers of values, not {arguments.size}')
    if arguments.pictures is None and (arguments.precision == 'int8' or arguments.size):
        parser.error('int8 and --size learn from real pictures: give --pictures DIR')
    if arguments.whitening is not None and not arguments.size:
        parser.error('--whitening is of a projection: give --size D, too')
    return arguments


def read_some(source: Path, count: int) -> list[np.ndarray]:
    """Read some pictures of a folder, or of what a run trained on, named by its config.yaml."""
    if source.suffix not in ('.yaml', '.yml'):
        return read_pictures(source, count=count)
    places, _ = load_places(load_config(source))
    files = sorted({path for place in places for path in place.pictures})
    return [read_picture(path) for path in files[:: max(1, len(files) // count)]]


def load_ensemble(
    paths: Sequence[Path], shares: Sequence[float] = ()
) -> tuple[Network | Ensemble, dict[str, str]]:
    """Build the network of a checkpoint, or one of several; see `load_trained`.

    Args:
        paths: The checkpoints.
        shares: What each of several counts, see `Ensemble`.

    Raises:
        ValueError: The networks take pictures of different sizes, or a share is not positive.
    """
    networks, records = zip(*map(load_trained, paths), strict=True)
    if len(paths) == 1:
        return networks[0], records[0]
    ensemble = Ensemble(networks, shares)

    def joined(key: str, separator: str) -> str:
        return separator.join(dict.fromkeys(record[key] for record in records))

    return ensemble.eval(), new_record(
        ensemble,
        joined(extractor.KEY_NAME, '+'),
        joined(extractor.KEY_TRAINING_DATA, '; '),
        joined(extractor.KEY_SOURCE_SHA256, ' '),
    )


def load_trained(path: Path) -> tuple[Network, dict[str, str]]:
    """Build the network of a checkpoint.

    Returns:
        Network in evaluation mode, and its record as far as the checkpoint tells it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is neither a checkpoint of train.py nor of a published system.
    """
    network, config = load_network(path)
    is_ours = 'config' in read_checkpoint(path)
    name = config.name if is_ours else path.stem
    data = describe_data(config) if is_ours else RELEASED_DATA
    return network.eval(), new_record(network, name, data, file_sha256(path))


def load_untrained(backbone: str) -> tuple[Network, dict[str, str]]:
    """Build the reference: published weights, GeM pooling, nothing learned about places."""
    config = TrainConfig(backbone=backbone, aggregator='gem', height=USUAL_SIZE, width=USUAL_SIZE)
    network = build_network(config)
    network.backbone.load_pretrained()
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return network.eval(), new_record(network, f'{backbone}_gem', 'ImageNet', digest.hexdigest())


def describe_data(config: TrainConfig) -> str:
    """Name the training data of a run."""
    sources = (config.gsv, f'{config.cameras}/train' if config.cameras else '', config.clips)
    return ', '.join(filter(None, sources))


def new_record(
    network: Network | Ensemble, name: str, training_data: str, source_sha256: str
) -> dict[str, str]:
    """Return the ONNX metadata that the runtime asks for."""
    return {
        extractor.KEY_SCHEMA: extractor.METADATA_SCHEMA_VERSION,
        extractor.KEY_NAME: name,
        extractor.KEY_DESCRIPTOR_SIZE: str(network.descriptor_size),
        extractor.KEY_PREPROCESS: Preprocess(*network.input_size).to_json(),
        extractor.KEY_TRAINING_DATA: training_data,
        extractor.KEY_SOURCE_SHA256: source_sha256,
        extractor.KEY_LICENSE: LICENSE,
    }


@torch.no_grad()
def project(
    network: Network | Ensemble,
    pictures: Sequence[np.ndarray],
    size: int,
    *,
    power: float = FULL_WHITENING,
) -> None:
    """Add a projection to `size` values, fitted on pictures.

    Raises:
        ValueError: The network has a projection, or there are too few pictures.
    """
    if network.projection is not None:
        raise ValueError(f'the network projects to {network.descriptor_size} values already')
    resize = Preprocess(*network.input_size)
    descriptors = [
        network(torch.from_numpy(np.stack([resize(rgb) for rgb in pictures[i : i + BATCH]])))
        for i in range(0, len(pictures), BATCH)
    ]
    network.projection = fit_projection(torch.cat(descriptors).numpy(), size, power=power)


def export(
    network: Network | Ensemble,
    output: Path,
    record: Mapping[str, str],
    pictures: Sequence[np.ndarray],
    *,
    precision: str = 'fp32',
) -> float:
    """Write the file if, and only if, onnxruntime answers as torch does.

    Beside it go a made picture and its descriptor, `FILE.golden.png` and `FILE.golden.npy`: who
    runs the model elsewhere can tell whether it answers as here.

    Args:
        network: The network, in evaluation mode.
        output: The file to write; an old one is replaced at the very end.
        record: Metadata, see `load_trained`.
        pictures: uint8 RGB (H, W, 3), for the comparison and to calibrate int8.
        precision: fp32; fp16-weights, stored so and computed in float32; fp16; or int8.

    Returns:
        The smallest cosine similarity between the two answers.

    Raises:
        ModelError: The answers differ, the runtime refuses the file, or it would be too large;
            nothing is written.
    """
    weights = sum(value.nbytes for value in network.state_dict().values())
    if weights > LARGEST_FILE:
        raise ModelError(
            f'the weights take {weights / 1e9:.1f} GB, an ONNX file holds 2 GB and the runtime '
            f'reads no second one; take a smaller backbone'
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        draft = Path(folder) / output.name
        write_onnx(network, draft)
        if precision == 'fp16-weights':
            store_float16(draft)
        elif precision == 'fp16':
            to_float16(draft)
        elif precision == 'int8':
            resize = Preprocess(*network.input_size)
            to_int8(draft, [resize(rgb) for rgb in pictures], extractor.INPUT_NAME)
        write_record(draft, record)
        some = pictures[:: max(1, len(pictures) // PARITY_PICTURES)]
        cosine, least = parity(network, draft, some), MIN_PARITY_COSINE[precision]
        if not cosine >= least:
            raise ModelError(
                f'torch and onnxruntime disagree: cosine {cosine:.6f}, at least {least} is asked '
                f'for with {precision}; {output} is not written'
            )
        golden = made_picture(0)
        descriptor = DescriptorExtractor(draft, device='cpu').extract(golden)
        Image.fromarray(golden).save(output.with_suffix('.golden.png'))
        np.save(output.with_suffix('.golden.npy'), descriptor, allow_pickle=False)
        draft.replace(output)
    return cosine


def write_onnx(network: Network | Ensemble, path: Path) -> None:
    """Write the bare graph with a dynamic batch, weights inside."""
    network.fix_input_size()
    torch.onnx.export(
        network,
        (torch.zeros(1, *network.input_size, 3, dtype=torch.uint8),),
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
def parity(network: Network | Ensemble, path: Path, pictures: Sequence[np.ndarray]) -> float:
    """Return the smallest cosine similarity between torch's and the runtime's descriptors."""
    runtime = DescriptorExtractor(path, device='cpu')
    batch = np.stack([runtime.info.preprocess(rgb) for rgb in pictures])
    expected = network(torch.from_numpy(batch)).double().numpy()
    actual = runtime.extract_batch(pictures).astype(np.float64)
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(actual, axis=1)
    return float(((expected * actual).sum(axis=1) / norms).min())


if __name__ == '__main__':
    sys.exit(main())
