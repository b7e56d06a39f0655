"""The cluster's program: Azure's routes, automatic host endpoints, leaked addresses."""

from korat.controllers.main import run

__all__ = ["run"]
