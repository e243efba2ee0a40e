"""Studies made with the simulator: what was asked, run and concluded; each in a directory of its own."""
