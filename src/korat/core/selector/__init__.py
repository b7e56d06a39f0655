"""Calico's selector language: ``has(app) && tier in {"web", "db"}``."""

from korat.core.selector.error import SelectorError
from korat.core.selector.selector import Selector, conjunction, parse

__all__ = ["Selector", "SelectorError", "conjunction", "parse"]
