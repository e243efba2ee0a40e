"""Directed yield on an oversubscribed KVM host, simulated.

The host's fair scheduler (Linux v6.19) is reproduced exactly on one CPU; on it run KVM's directed yield, the patch
series that changes it, guests that spin, and the policies to be compared or learned. Importing the package registers
its Gymnasium environments: ``gymnasium.make("vcpu_env/CandidateChoice-v0")``.
"""

from vcpu_env.envs.register import register_environments

__version__ = "0.1.0"

register_environments()
