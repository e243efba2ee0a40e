"""Learned agents: training, evaluation and export. They need the extra: ``pip install 'vcpu-env[agents]'``."""
