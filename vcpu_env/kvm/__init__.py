"""The host's KVM: pause-loop exits, directed yield (kvm_vcpu_on_spin()), IPI tracking, halt polling, notifiers."""
