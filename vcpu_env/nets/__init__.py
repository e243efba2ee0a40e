"""Networks that decide: their weights, how they are packed into a machine, played and trained inside it."""
