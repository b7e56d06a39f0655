"""Calico's and Kubernetes' objects as frozen values: decode, default, validate, convert."""
