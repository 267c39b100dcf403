"""GPUs of a pod: a resource that its node has, and which kind of node."""

from __future__ import annotations

from upon_build.cluster.objects.wanted import Wanted

GKE = "cloud.google.com/gke-accelerator"
NVIDIA = "nvidia.com/gpu.product"


def gpu_resources(wanted: Wanted) -> dict[str, str]:
    """For the limits; a request of the same size comes with it."""
    count = wanted.settings["deploy.gpu.count"]
    return {wanted.settings["deploy.gpu.resource"]: str(count)} if count else {}


def gpu_selector(wanted: Wanted) -> dict[str, str]:
    """The node label that deploy.gpu.type asks for; GKE has its own, others have that of NVIDIA's discovery."""
    kind = wanted.settings["deploy.gpu.type"]
    if not kind or not wanted.settings["deploy.gpu.count"]:
        return {}
    label = wanted.settings["deploy.gpu.label"] or (GKE if kind.startswith("nvidia-") else NVIDIA)
    return {label: kind}
