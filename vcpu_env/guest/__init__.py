"""What runs inside a virtual machine: programs, their interpreter, locks, cross-calls, the guest's run queues."""
