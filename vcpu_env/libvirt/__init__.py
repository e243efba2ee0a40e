"""Hosts as libvirt describes them, made scenarios: domain XML, capabilities, KVM's module parameters.

Each part of a description is used, approximated, or without effect on who runs when, and is listed with which.
"""
