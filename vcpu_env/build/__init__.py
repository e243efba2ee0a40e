"""From a scenario to a machine's state: what there is, where it lies, and its first contents."""
