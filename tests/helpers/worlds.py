"""Two worlds side by side."""

import numpy as np

from vcpu_env.base.world import World


def differing(a: World, b: World, but: set[str] = frozenset()) -> set[str]:
    """``struct.field`` of everything that differs between two worlds; `but`: structs and fields left out."""
    assert a.arrays.keys() == b.arrays.keys()
    found = set()
    for name, array in a.arrays.items():
        if name not in but:
            fields = [field for field in array.dtype.names if field not in but]
            found |= {f"{name}.{field}" for field in fields if not np.array_equal(a[name][field], b[name][field])}
    return found
