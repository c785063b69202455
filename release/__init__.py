"""What makes a release: ``make dist``."""
