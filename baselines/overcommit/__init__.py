"""What overcommit costs the guests of a host, by ratio, and which knob helps: ``python -m baselines.overcommit``."""
