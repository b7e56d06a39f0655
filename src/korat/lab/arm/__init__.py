"""A documented double of Azure Resource Manager's network provider, and of managed identity."""
