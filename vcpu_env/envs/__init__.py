"""Gymnasium environments: the host kernel's two decisions of a directed yield, answered by an agent."""
