"""Stand-ins for Azure's CNI plugins, which no registry carries, as far as they are documented."""
