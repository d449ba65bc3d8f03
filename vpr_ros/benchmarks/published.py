# SPDX-License-Identifier: Apache-2.0
"""What others published on the benchmarks, quoted and not run again.

Two rows compare only where their protocols agree: each says where its own differs from that of its
set, or is not known here. Figures that were found from memory alone are left out.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """The figures of one method on one set.

    Attributes:
        method: Its name, with what it is made of or how long its descriptors are.
        recall: Recall@1, or @1 and @5, or @1, @5 and @10, percent, as printed.
        source: Where they are printed.
        remark: Where its protocol differs from that of the set, or what is not known of it, or
            how else the figure is to be read.
    """

    method: str
    recall: tuple[float, ...]
    source: str
    remark: str = ''


@dataclass(frozen=True)
class PublishedSet:
    """What was published on one set.

    Attributes:
        protocol: What counts as a hit and what is asked, unless a row says otherwise.
        rows: The figures.
    """

    protocol: str
    rows: tuple[Row, ...]


_MIXVPR = 'README of amaralibey/MixVPR'
_MIXVPR_PAPER = 'paper of MixVPR, WACV 2023'
_TABLES = 'tables in the papers of CricaVPR, MutualVPR and UniPR-3D'
_MUTUALVPR = 'table in the paper of MutualVPR'
_CONVAP = 'repository amaralibey/gsv-cities'
_LIGHTWEIGHT = 'README of nadhiranoor/Lightweight-MixVPR'
_DINOMIX = 'README of GaoShuang98/DINO-Mix'
_DINOMIX_LOG = 'test log in GaoShuang98/DINO-Mix'
_CLUSVPR = 'arXiv 2310.04099'
_SALAD = 'README of SALAD, table in the paper of UniPR-3D'
_BOQ = 'README of BoQ'
_CRICAVPR = 'paper of CricaVPR'
_MEGALOC = 'repository of MegaLoc, table in the paper of UniPR-3D'
_SELAVPR = 'paper of SelaVPR++, TPAMI 2025'
_UNIPR = 'paper of UniPR-3D'
_IMAGE = 'paper of ImAge, NeurIPS 2025'
_A2GC = 'paper of A2GC, CVPR 2026'
_PAIRVPR = 'paper of Pair-VPR'
_FOL = 'paper of FoL'
_EFFOVPR = 'paper of EffoVPR'
_SAGE = 'paper of SAGE, ICLR 2026'

_BATCH = 'a descriptor depends on the other pictures of its batch'
_RERANKED = 'in two stages: pictures that were found are compared in pairs'

_PITTS30K_TEST = PublishedSet(
    'within 25 m; 6,816 queries among 10,000 references',
    (
        Row('MixVPR, 4096 values', (91.6, 95.5, 96.4), _MIXVPR),
        Row('MixVPR, 512 values', (90.7,), _MIXVPR),
        Row('MixVPR, 128 values', (87.8,), _MIXVPR),
        Row('Lightweight-MixVPR, ResNet-50, 4096 values', (91.99, 95.79, 96.66), _LIGHTWEIGHT),
        Row('Lightweight-MixVPR, EfficientNet-B0, 128', (81.51, 91.83, 94.06), _LIGHTWEIGHT),
        Row('Lightweight-MixVPR, MobileNetV2, 1024', (86.30, 92.99, 94.66), _LIGHTWEIGHT),
        Row('Lightweight-MixVPR, ResNet-18, 512', (89.00, 94.72, 96.07), _LIGHTWEIGHT),
        Row('DINO-Mix, ViT-B', (92.03,), _DINOMIX, 'its test log says 91.68'),
        Row('DINO-Mix, ViT-S', (90.61,), _DINOMIX),
        Row('DINO-Mix, ViT-L', (91.27,), _DINOMIX),
        Row('DINO-Mix, ViT-g', (87.71,), _DINOMIX),
        Row('ClusVPR, 4096 values', (90.8, 95.2), _CLUSVPR),
        Row('ConvAP, 8192 values', (90.5,), _CONVAP),
        Row('ConvAP, 512 values', (89.1,), _CONVAP),
        Row('CosPlace, 512 values', (89.6,), _MUTUALVPR),
        Row('EigenPlaces, 512 values', (92.3,), _MUTUALVPR),
        Row('BoQ, DINOv2, 12288 values', (93.7,), _BOQ),
        Row('BoQ, ResNet-50, 16384 values', (92.4,), _BOQ),
        Row('CricaVPR, 4096 values', (94.9,), _CRICAVPR, _BATCH),
        Row('SelaVPR++, DINOv2-L', (94.4,), _SELAVPR),
        Row('ImAge, 6144 values', (94.0,), _IMAGE),
        Row('ImAge, trained on several sets', (94.1,), _IMAGE),
        Row('A2GC, ViT-g, 33280 values', (95.6,), _A2GC),
        Row('Pair-VPR', (95.4,), _PAIRVPR, _RERANKED),
        Row('FoL', (94.5,), _FOL, _RERANKED),
        Row('SAGE, ViT-B', (93.4,), _SAGE),
        Row('SAGE, ViT-L', (94.7,), _SAGE),
        Row('SAGE, across pictures', (95.8,), _SAGE, _BATCH),
    ),
)
_PITTS250K_TEST = PublishedSet(
    'within 25 m; 8,280 queries among 83,952 references',
    (
        Row('MixVPR, 4096 values', (94.3, 98.2, 98.9), _MIXVPR),
        Row('MixVPR, 512 values', (93.2,), _MIXVPR),
        Row('MixVPR, 128 values', (88.7,), _MIXVPR),
        Row('DINO-Mix, ViT-B', (94.58,), _DINOMIX_LOG),
        Row('ClusVPR, 4096 values', (92.4, 96.9), _CLUSVPR),
        Row('ConvAP, 8192 values', (92.8,), _CONVAP),
        Row('ConvAP, 512 values', (90.7,), _CONVAP),
        Row('SALAD, 8448 values', (95.2,), _SALAD),
        Row('BoQ, DINOv2, 12288 values', (96.6,), _BOQ),
        Row('BoQ, ResNet-50, 16384 values', (95.0,), _BOQ),
        Row('MegaLoc, 8448 values', (96.4,), _MEGALOC),
        Row('UniPR-3D', (96.6,), _UNIPR),
        Row('A2GC, ViT-g, 33280 values', (97.3,), _A2GC),
        Row('SAGE, ViT-B', (95.7,), _SAGE),
        Row('SAGE, ViT-L', (96.9,), _SAGE),
        Row('SAGE, across pictures', (98.4,), _SAGE, _BATCH),
    ),
)
_MSLS_VAL = PublishedSet(
    'within 25 m; the official 740 queries among 18,871 references',
    (
        Row('MixVPR, 4096 values', (88.2, 93.1, 94.3), _MIXVPR),
        Row('MixVPR, 512 values', (84.1,), _MIXVPR),
        Row('MixVPR, 128 values', (78.5,), _MIXVPR),
        Row('Lightweight-MixVPR, ResNet-50, 4096 values', (87.03, 92.57, 94.73), _LIGHTWEIGHT),
        Row('Lightweight-MixVPR, EfficientNet-B0, 128', (65.00, 78.38, 81.89), _LIGHTWEIGHT),
        Row('Lightweight-MixVPR, MobileNetV2, 1024', (70.14, 81.35, 83.65), _LIGHTWEIGHT),
        Row('Lightweight-MixVPR, ResNet-18, 512', (81.49, 88.92, 91.22), _LIGHTWEIGHT),
        Row(
            'ClusVPR, 4096 values', (82.7, 88.5), _CLUSVPR, 'which queries count is not known here'
        ),
        Row('ConvAP, 8192 values', (83.1,), _CONVAP),
        Row('ConvAP, 512 values', (82.6,), _CONVAP),
        Row('CosPlace, 512 values', (84.4,), _MUTUALVPR),
        Row('EigenPlaces, 512 values', (88.1,), _MUTUALVPR),
        Row('SALAD, 8448 values', (92.2,), _SALAD),
        Row('BoQ, DINOv2, 12288 values', (93.8,), _BOQ),
        Row('BoQ, ResNet-50, 16384 values', (91.2,), _BOQ),
        Row('CricaVPR, 4096 values', (90.0,), _CRICAVPR, _BATCH),
        Row('MegaLoc, 8448 values', (93.5,), 'issue 19 of VPR-methods-evaluation'),
        Row('SelaVPR++, DINOv2-L', (94.5,), _SELAVPR),
        Row('UniPR-3D', (93.2,), _UNIPR),
        Row('ImAge, 6144 values', (93.0,), _IMAGE),
        Row('ImAge, trained on several sets', (94.5,), _IMAGE),
        Row('A2GC, ViT-g, 33280 values', (93.6,), _A2GC),
        Row('Pair-VPR', (95.4,), _PAIRVPR, _RERANKED),
        Row('FoL', (93.5,), _FOL, _RERANKED),
        Row('SAGE, ViT-B', (93.4,), _SAGE),
        Row('SAGE, ViT-L', (94.2,), _SAGE),
        Row('SAGE, across pictures', (94.5,), _SAGE, _BATCH),
    ),
)

PUBLISHED = {
    'pitts30k_val': PublishedSet(
        'within 25 m; 7,608 queries among 10,000 references',
        (Row('DINO-Mix, ViT-B', (94.37,), _DINOMIX),),
    ),
    'pitts30k_test': _PITTS30K_TEST,
    'pitts250k_test': _PITTS250K_TEST,
    'msls_val': _MSLS_VAL,
    'msls_val_747': PublishedSet(
        f'{_MSLS_VAL.protocol}; the 7 queries that have no hit, asked here, are not among them',
        _MSLS_VAL.rows,
    ),
    'msls_val_all': PublishedSet(
        'within 25 m; all queries, about 11,000',
        (
            Row('MixVPR, 4096 values', (83.4,), 'issue 5 of amaralibey/MixVPR'),
            Row(
                'MegaLoc, 8448 values', (91.0,), 'paper of MegaLoc',
                'not the official 740 queries; which ones is not known here',
            ),
        ),
    ),
    'nordland_2760': PublishedSet(
        'within 1 frame; 2,760 queries among 27,592 references',
        (
            Row('MixVPR, 4096 values', (58.4,), _MIXVPR_PAPER),
            Row('ConvAP, 8192 values', (42.7,), _CONVAP),
            Row('ConvAP, 512 values', (36.3,), _CONVAP),
            Row('SALAD, 8448 values', (76.0,), _SALAD),
            Row('BoQ, DINOv2, 12288 values', (81.3,), _BOQ),
            Row('BoQ, ResNet-50, 16384 values', (70.7,), _BOQ),
            Row('MegaLoc, 8448 values', (76.7,), _MEGALOC),
            Row('UniPR-3D', (78.9,), _UNIPR),
            Row('FoL', (85.8,), _FOL, _RERANKED),
            Row('SAGE, ViT-B', (86.7,), _SAGE),
            Row('SAGE, ViT-L', (87.4,), _SAGE),
        ),
    ),
    'nordland_27592': PublishedSet(
        'within 10 frames (25 m in some papers); 27,592 queries among 27,592 references',
        (
            Row('MixVPR, 4096 values', (76.2,), _TABLES),
            Row(
                'DINO-Mix, ViT-B', (80.18,), _DINOMIX_LOG,
                'how many frames either side count is not known here',
            ),
            Row('BoQ, DINOv2, 12288 values', (90.6,), _BOQ),
            Row('BoQ, ResNet-50, 16384 values', (83.1,), _BOQ),
            Row('CricaVPR, 4096 values', (90.7,), _CRICAVPR, _BATCH),
            Row('SelaVPR++, DINOv2-L', (97.2,), _SELAVPR),
            Row('ImAge, 6144 values', (93.2,), _IMAGE),
            Row('ImAge, trained on several sets', (97.7,), _IMAGE),
            Row('FoL', (92.6,), _FOL, _RERANKED),
            Row(
                'EffoVPR', (95.0,), _EFFOVPR,
                f'{_RERANKED}; which Nordland it is, is not known here',
            ),
            Row('SAGE, ViT-B', (94.1,), _SAGE),
            Row('SAGE, ViT-L', (94.8,), _SAGE),
            Row('SAGE, across pictures', (96.0,), _SAGE, _BATCH),
        ),
    ),
    'sped': PublishedSet(
        '607 queries among 607 references',
        (
            Row('MixVPR, 4096 values', (85.2,), _MIXVPR_PAPER),
            Row('SAGE, across pictures', (98.8,), _SAGE, _BATCH),
        ),
    ),
    'tokyo247': PublishedSet(
        'within 25 m',
        (
            Row('MixVPR, 4096 values', (85.1,), _TABLES, 'the lowest in them'),
            Row('MixVPR, 4096 values', (87.0,), _TABLES, 'the highest in them'),
            Row('DINO-Mix, ViT-B', (91.75,), _DINOMIX_LOG),
            Row(
                'ClusVPR, 4096 values', (87.5, 91.5), _CLUSVPR,
                'matches are thinned by non-maximum suppression',
            ),
            Row('CosPlace, 512 values', (76.5,), _MUTUALVPR),
            Row('EigenPlaces, 512 values', (84.8,), _MUTUALVPR),
            Row('TeTRA-BoQ, 12288 bits', (86.6,), 'paper of TeTRA'),
            Row('SALAD, 8448 values', (95.1,), _SALAD),
            Row('CricaVPR, 4096 values', (93.0,), _CRICAVPR, _BATCH),
            Row('MegaLoc, 8448 values', (96.5,), _MEGALOC),
            Row('SelaVPR++, DINOv2-L', (98.1,), _SELAVPR),
            Row('UniPR-3D', (97.9,), _UNIPR),
            Row('FoL', (98.4,), _FOL, _RERANKED),
            Row('EffoVPR', (98.7,), _EFFOVPR, _RERANKED),
            Row('SAGE, ViT-B', (97.1,), _SAGE),
            Row('SAGE, ViT-L', (98.1,), _SAGE),
            Row('SAGE, across pictures', (97.5,), _SAGE, _BATCH),
        ),
    ),
    'sf_xl_v1': PublishedSet(
        'within 25 m; among 2.8 million references',
        (
            Row('MixVPR, 4096 values', (69.2,), _TABLES),
            Row('DINO-Mix, ViT-B', (82.0,), _DINOMIX_LOG, 'among 27,191 references only'),
            Row('CosPlace, 512 values', (64.8,), _MUTUALVPR),
            Row('EigenPlaces, 512 values', (83.8,), _MUTUALVPR),
            Row('SALAD, 8448 values', (90.9,), _SALAD),
            Row('BoQ, DINOv2, 12288 values', (93.6,), _BOQ, 'on "SF-Landmark"'),
            Row('MegaLoc, 8448 values', (95.3,), _MEGALOC),
            Row('UniPR-3D', (96.3,), _UNIPR),
        ),
    ),
}  # fmt: skip
