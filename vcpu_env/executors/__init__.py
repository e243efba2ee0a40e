"""Runs independent tasks: in this process, in a pool of processes, or on a Ray cluster; the results are the same.

An executor maps a function over items and yields (index, result) as they come. Whatever ends the iteration early (an
exception, an interrupt, a closed generator) ends the workers as well.
"""
