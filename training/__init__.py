# SPDX-License-Identifier: Apache-2.0
"""Training of place recognition networks (PyTorch); never imported by the runtime."""
