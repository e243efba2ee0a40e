"""Sizes of VMs in published traces: vCPUs and their share of all VMs.

Shares are of VMs, as each source has them, not weighted by how long they live: a host's mix at an instant holds more of
those that live long. Lifetimes do not enter otherwise: a run is a second of a host whose VMs are all there.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Trace:
    """The sizes of one trace.

    Attributes:
        sizes: share of VMs by number of vCPUs.
        lifetimes: what the source says of them.
        source: where it is from.
    """

    sizes: Mapping[int, float]
    lifetimes: str
    source: str


CLOUDFACTORY = (
    "P. Jacquet, T. Ledoux, R. Rouvoy, CloudFactory: An Open Toolkit to Generate Production-like Workloads for Cloud "
    "Infrastructures, IC2E 2023; github.com/jacquetpi/cloudfactory, examples-scenario/"
)
TRACES = {
    "azure-2017": Trace(
        {1: 0.51, 2: 0.25, 4: 0.17, 8: 0.07},
        "2,013,767 VMs in 30 days with 104,371,713 VM hours: 52 hours each in the mean "
        "(github.com/Azure/AzurePublicDataset, AzurePublicDatasetV1.md)",
        f"{CLOUDFACTORY}scenario-vm-distribution-azure2017.yml",
    ),
    "ovhcloud-2023": Trace(
        {1: 0.10, 2: 0.47, 4: 0.33, 8: 0.05, 16: 0.03},
        "not published",
        f"{CLOUDFACTORY}scenario-vm-distribution-ovhcloud2023.yml; 2 % of VMs are of other sizes",
    ),
}
