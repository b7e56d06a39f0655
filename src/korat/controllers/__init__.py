"""The cluster's program: keeps Azure's route table as the nodes need it."""

from korat.controllers.main import run

__all__ = ["run"]
