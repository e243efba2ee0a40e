"""The slow readable twin: v6.19's fair class on one CPU in plain Python objects, written from the specification alone.

It shares no line with the compiled core, has no rbtree, no fixed-width integers and no arrays; it is there to disagree.
"""
