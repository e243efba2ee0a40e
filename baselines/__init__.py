"""Comparisons of policies: evaluation on common seeds, statistics, tables."""
