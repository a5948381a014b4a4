"""For programs that read many objects: bundles, and data loaders that stand on them.

Speaks S3 only, by boto3, and knows nothing of the server's rooms. `amur.client.torch` has the
same for PyTorch, and is imported only by those who want it.
"""

from __future__ import annotations

from amur.client.batches import BundleLoader
from amur.client.bundle import Bundle, BundleBroken, BundleError, Skipped, bundle_objects
from amur.client.keys import Keys

__all__ = [
    "Bundle",
    "BundleBroken",
    "BundleError",
    "BundleLoader",
    "Keys",
    "Skipped",
    "bundle_objects",
]
