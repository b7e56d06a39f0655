"""gRPC, told to write nothing of its own.

Whatever goes wrong is in korat's errors, and gRPC would say it on standard error once more. No
process of korat's forks without starting another program, so what gRPC does about forks is off.
Both are read from the environment when gRPC is imported, so all of korat imports it from here.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc  # noqa: TID251 - here alone; it reads the environment as it is imported

__all__ = ["grpc"]
