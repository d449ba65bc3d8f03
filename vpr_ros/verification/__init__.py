# SPDX-License-Identifier: Apache-2.0
"""Check by geometry whether two pictures show one place, and measure the motion between them."""
