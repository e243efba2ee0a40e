"""Look inside a run: all that happened in a window of time, one yield explained, two policies side by side."""
