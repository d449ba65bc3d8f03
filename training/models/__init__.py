# SPDX-License-Identifier: Apache-2.0
"""Networks: a backbone (picture to feature map) and an aggregator (feature map to descriptor)."""

from training.models.ensemble import Ensemble
from training.models.network import Network, build_network

__all__ = ['Ensemble', 'Network', 'build_network']
