# SPDX-License-Identifier: Apache-2.0
"""Aggregators: feature map (B, C, h, w) to descriptor (B, D) of unit norm."""

from training.models.aggregators.clusvpr import ClusVPR
from training.models.aggregators.convap import ConvAP
from training.models.aggregators.gem import GeM
from training.models.aggregators.mixvpr import MixVPR
from training.models.aggregators.netvlad import NetVLAD, Vlad

__all__ = ['ClusVPR', 'ConvAP', 'GeM', 'MixVPR', 'NetVLAD', 'Vlad']
