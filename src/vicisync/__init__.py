"""vicisync delivers VICIdial's finished calls to DID Optimizer."""

__version__ = "1.1.0"
