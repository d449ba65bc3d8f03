# SPDX-License-Identifier: Apache-2.0
"""What every node of this package shares: parameters, log, slow services, clock, how to run."""
