"""How korat's long-running programs speak: one line per event on standard error.

Readable columns on a terminal, JSON otherwise (``KORAT_LOG_FORMAT`` chooses);
FELIX_LOGSEVERITYSCREEN sets the level under Calico's name.
"""

import logging
import sys
from collections.abc import Mapping

import structlog

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}


def configure(environ: Mapping[str, str]) -> None:
    """Set the process's log up; an unknown level is info."""
    level = _LEVELS.get(environ.get("FELIX_LOGSEVERITYSCREEN", "info").lower(), logging.INFO)
    default = "console" if sys.stderr.isatty() else "json"
    as_json = environ.get("KORAT_LOG_FORMAT", default) == "json"
    # Tracebacks without the values of variables: those may be secrets, or a whole cluster.
    last = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
