"""What makes a release: ``make dist`` and ``make docs``."""
