"""Many hosts with VMs drawn at random: what overcommit ratio keeps latencies and CPU Ready within limits."""
