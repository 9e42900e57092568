"""The client of a service of `parafovea serve`, which needs neither torch nor zarr.

``pip install "parafovea[client]"`` installs what it needs. `InferenceClient` has the calls of the
lung nodule inference guide.
"""

from parafovea.client.inference_client import InferenceClient, ServiceError

__all__ = ["InferenceClient", "ServiceError"]
