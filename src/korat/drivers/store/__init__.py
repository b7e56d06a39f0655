"""Datastores behind ``korat.ports.Store``, and the choice of one from the environment."""
