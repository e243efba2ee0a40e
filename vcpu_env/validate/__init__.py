"""The simulator held against real hosts: recorded cells, launches, published tables, probes, traces; one page of it."""
