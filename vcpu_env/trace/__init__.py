"""Records of what a machine did, and the replay of recorded scenarios."""
