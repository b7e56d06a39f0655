"""The CNI plugin: small, standard library only; it asks the agent to do the work."""
