"""``python -m agents.import MODEL.zip --env ID -o FILE.npz``: see `agents.imported`."""

from agents.imported import main

if __name__ == "__main__":
    main()
