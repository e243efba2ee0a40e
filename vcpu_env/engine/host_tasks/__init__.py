"""Threads of the host that are no vCPUs: what they do, as data, and how they do it."""
