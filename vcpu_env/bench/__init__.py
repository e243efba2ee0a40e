"""How fast it runs: the machine, its ticks, the environments and training in them."""
