"""vicisync delivers VICIdial's finished calls to DID Optimizer."""

from __future__ import annotations

__version__ = "1.0.0"
