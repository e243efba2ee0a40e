"""Run as a script, in a process of its own: the arrays of a torch file, from stdin to an .npz on stdout.

torch's loader of weights runs no code of the file. Should it be mistaken, the process may write no file, and ends soon.
"""

import io
import re
import resource
import sys

MOST_CPU_SECONDS = 60
MOST_BYTES = 1 << 35


def main() -> None:
    """Read, load, write; what is wrong is one line on stderr, and exit code 3."""
    import numpy as np
    import torch

    content = io.BytesIO(sys.stdin.buffer.read())
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_SECONDS, MOST_CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    try:
        state = torch.load(content, map_location="cpu", weights_only=True)
        arrays = {str(name): np.ascontiguousarray(tensor.numpy(), np.float32) for name, tensor in state.items()}
    except Exception as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        print(f"it holds code: {code[1]}" if code else "it holds no weights", file=sys.stderr)
        sys.exit(3)
    result = io.BytesIO()
    np.savez(result, **arrays)  # type: ignore[arg-type]
    sys.stdout.buffer.write(result.getvalue())


if __name__ == "__main__":
    main()
