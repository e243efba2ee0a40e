"""Guest programs fitted to recorded traces of real ones: read, measured, fitted, written, simulated, compared."""
