"""YAML in the dialect of Kubernetes' tools: one loader and one writer that agree with each other.

YAML 1.1 as Go's yaml.v2 reads it: ``yes``, ``no``, ``on`` and ``off`` are booleans, but numbers
in base 60 (``1:30``) and dates are text. Safe only: no tag makes an object. libyaml does the work
where PyYAML was built with it.
"""

import re
from typing import Any, ClassVar

import yaml
from typing_extensions import override

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Emitter: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_TAG = "tag:yaml.org,2002:"
_BOOL = "yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF"
_INT = r"[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+"
_FLOAT = (
    r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?\.[0-9]+(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_RESOLVERS: tuple[tuple[str, str, str], ...] = (
    ("bool", _BOOL, "yYnNtTfFoO"),
    ("float", _FLOAT, "-+0123456789."),
    ("int", _INT, "-+0123456789"),
    ("merge", "<<", "<"),
    ("null", "~|null|Null|NULL|", "~nN"),
)


class Loader(_Parser):  # type: ignore[misc]  # libyaml's or PyYAML's own: known at run time only
    """Reads the dialect."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


class _Dumper(_Emitter):  # type: ignore[misc]  # as above
    """Writes it, quoting whatever any YAML reader might take for something else."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: list(resolvers)
        for first, resolvers in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }

    @override
    def ignore_aliases(self, data: object) -> bool:
        """Write equal parts out each time: people read this."""
        return True


def _register() -> None:
    for name, pattern, first in _RESOLVERS:
        empty = [""] if name == "null" else []
        expression = re.compile(f"^(?:{pattern})$")
        for dialect in (Loader, _Dumper):
            dialect.add_implicit_resolver(_TAG + name, expression, [*first, *empty])
    # yaml.v2 takes a lone y or n for a boolean; PyYAML does not, so the writer quotes them
    _Dumper.add_implicit_resolver(f"{_TAG}bool", re.compile("^[yYnN]$"), list("yYnN"))


_register()


def dump(value: object) -> str:
    """The value as one YAML document, keys in the order they have."""
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=False,
        allow_unicode=True,
        width=100,
    )
    return text
