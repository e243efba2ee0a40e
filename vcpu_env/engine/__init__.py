"""The running machine: event loop, vCPU threads, host tasks, directed yield, and what the lives of VMs change."""
