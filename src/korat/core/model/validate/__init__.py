"""Whether an object may be stored: on its own, on Azure, and beside the others."""

from korat.core.model.validate.cluster import against, deletable
from korat.core.model.validate.object import validate
from korat.core.model.validate.pool import on_azure

__all__ = ["against", "deletable", "on_azure", "validate"]
