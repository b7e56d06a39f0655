"""Raw objects, as users write them, into resources: every fault is found, not the first one.

The walk compares the raw value with the struct's own types, so a field that a struct gains is
known here at once. What a value may be (a legal name, a CIDR) is not asked here but in
``validate``. A null is an absent field, as in Kubernetes.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec
from msgspec import inspect

from korat.core.errors import Invalid, Problem
from korat.core.model.key import DEFAULT_NAMESPACE
from korat.core.model.kind import KINDS, Kind
from korat.core.model.resource import Metadata, Open, Resource

S = TypeVar("S", bound=msgspec.Struct)

#: What an API server adds to metadata and korat has no use for.
_DROPPED = frozenset({"managedFields", "selfLink", "deletionGracePeriodSeconds", "clusterName"})

_UNKNOWN = "unknown field"

_INT_FIRST, _INT_LAST = -(2**63), 2**64 - 1
#: Half of a UTF-16 pair: JSON can spell one, UTF-8 cannot hold it.
_SURROGATE = re.compile("[\ud800-\udfff]")

_NAMES: dict[type[inspect.Type], str] = {
    inspect.StrType: "a string",
    inspect.IntType: "an integer",
    inspect.FloatType: "a number",
    inspect.BoolType: "true or false",
    inspect.VarTupleType: "a list",
    inspect.ListType: "a list",
    inspect.DictType: "a mapping",
    inspect.StructType: "a mapping",
}
_EMPTY: dict[type[inspect.Type], Callable[[], object]] = {
    inspect.StrType: str,
    inspect.IntType: int,
    inspect.FloatType: float,
    inspect.BoolType: bool,
    inspect.VarTupleType: list,
    inspect.ListType: list,
    inspect.DictType: dict,
    inspect.StructType: dict,
}
_SCALARS: dict[type[inspect.Type], tuple[type, ...]] = {
    inspect.StrType: (str,),
    inspect.IntType: (int,),
    inspect.FloatType: (int, float),
    inspect.BoolType: (bool,),
}


def decode(raw: object, where: str = "") -> Resource:
    """Read one object of a kind that korat stores; namespaced ones get namespace ``default``.

    ``where`` says where it stood (a file, a document's number); the object's own name follows it.

    Raises:
        Invalid: it is not such an object; holds every fault.
    """
    resource, problems = examine(raw, where)
    if resource is None or problems:
        raise Invalid(problems)
    return resource


def examine(raw: object, where: str = "") -> tuple[Resource | None, list[Problem]]:
    """What ``decode`` would read, and its faults.

    The object is given beside its faults, an empty value in the place of each wrong one, so that
    the faults of the rest can be told at the same time (``others``).
    """
    if not isinstance(raw, Mapping):
        return None, [Problem(where, "", raw, "an object must be a mapping")]
    place = title(raw, where)
    kind, problems = _kind(raw, place)
    if kind is None:
        return None, problems
    walk = _Walk(place)
    cleaned = walk.clean(raw, _INFO[kind.name], "")
    problems += walk.problems
    problems += _identity(cleaned, kind, place)
    resource, late = _converted(_placed(cleaned, kind), kind.struct, place)
    return resource, problems + late


def examine_part(raw: object, struct: type[S], where: str) -> tuple[S | None, list[Problem]]:
    """A value of any struct of the model and its faults, with the same care."""
    walk = _Walk(where)
    cleaned = walk.clean(raw, inspect.type_info(struct), "")
    value, late = _converted(cleaned, struct, where)
    return value, walk.problems + late


def others(known: Iterable[Problem], found: Iterable[Problem]) -> list[Problem]:
    """The problems found in an object that do not follow from the known ones.

    In an item of a list (a rule, a port) one wrong value may spoil what its neighbours mean, so
    nothing more is said of that item; elsewhere only of the field itself. An unknown field spoils
    nothing.
    """
    spoiled = tuple(
        _spoiled(problem.field)
        for problem in known
        if problem.field and not problem.rule.startswith(_UNKNOWN)
    )
    return [p for p in found if not any(_lies_in(p.field, place) for place in spoiled)]


def _spoiled(field: str) -> str:
    parent = field.rpartition(".")[0]
    return parent if parent.endswith("]") else field


def _lies_in(field: str, place: str) -> bool:
    return field == place or field.startswith((f"{place}.", f"{place}["))


def title(raw: Mapping[str, object], where: str = "") -> str:
    """How to name an object that may be broken: ``file.yaml: NetworkPolicy shop/allow``."""
    metadata = raw.get("metadata")
    fields = metadata if isinstance(metadata, Mapping) else {}
    name = "/".join(str(fields[key]) for key in ("namespace", "name") if fields.get(key))
    words = f"{raw.get('kind') or 'object'} {name}".strip()
    return f"{where}: {words}" if where else words


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that ``word`` was probably meant to be, or nothing."""
    by_case = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_case, n=1, cutoff=0.7)
    return by_case[found[0]] if found else ""


def _kind(raw: Mapping[str, object], place: str) -> tuple[Kind | None, list[Problem]]:
    name = raw.get("kind")
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        if not name:
            return None, [Problem(place, "kind", name, "is missing")]
        hint = nearest(str(name), KINDS)
        rule = f"unknown kind{_meant(hint)}; known are {', '.join(sorted(KINDS))}"
        return None, [Problem(place, "kind", name, rule)]
    version = raw.get("apiVersion")
    if version == kind.api_version:
        return kind, []
    rule = f"must be {kind.api_version} for a {kind.name}"
    return kind, [Problem(place, "apiVersion", version or "", rule)]


def _converted(raw: object, struct: type[S], place: str) -> tuple[S | None, list[Problem]]:
    """The struct of a value that was walked; msgspec may still refuse it, in its own words."""
    try:
        return msgspec.convert(raw, struct), []
    except msgspec.ValidationError as error:
        return None, [Problem(place, "", None, str(error))]


def _identity(cleaned: object, kind: Kind, place: str) -> list[Problem]:
    metadata = cleaned.get("metadata") if isinstance(cleaned, dict) else None
    fields = metadata if isinstance(metadata, dict) else {}
    problems = []
    if not fields.get("name"):
        generated = fields.get("generateName")
        rule = "generateName is not supported, give a name" if generated else "is missing"
        problems.append(Problem(place, "metadata.name", generated or None, rule))
    namespace = fields.get("namespace")
    if namespace and not kind.namespaced:
        rule = f"{kind.name} is not namespaced; take the namespace out"
        problems.append(Problem(place, "metadata.namespace", namespace, rule))
    return problems


def _placed(cleaned: object, kind: Kind) -> object:
    """The object with Kubernetes' default namespace where the user left it out."""
    if not isinstance(cleaned, dict) or not kind.namespaced:
        return cleaned
    return {**cleaned, "metadata": {"namespace": DEFAULT_NAMESPACE, **cleaned.get("metadata", {})}}


def _meant(hint: str) -> str:
    return f", did you mean {hint}?" if hint else ""


class _Walk:
    """One walk over a raw value; collects problems and drops nulls and what korat ignores.

    What is left always has the struct's form: a wrong part is replaced by an empty one.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self.problems: list[Problem] = []

    def clean(self, raw: object, expected: inspect.Type, path: str) -> object:
        """The value without what is dropped; a part that is wrong is reported and emptied."""
        match expected:
            case inspect.AnyType():
                return self._free(raw, path)
            case inspect.UnionType():
                return self._union(raw, expected, path)
            case inspect.StructType():
                return self._struct(raw, expected, path)
            case inspect.DictType():
                return self._mapping(raw, expected, path)
            case inspect.VarTupleType() | inspect.ListType():
                return self._sequence(raw, expected.item_type, path)
            case _:
                return self._scalar(raw, expected, path)

    def _refuse(self, path: str, value: object, rule: str) -> None:
        """Note a fault; a list or mapping is named and not shown, it may be long."""
        if isinstance(value, Mapping | list | tuple):
            kind = "mapping" if isinstance(value, Mapping) else "list"
            self.problems.append(Problem(self._place, path, None, f"{rule}, not a {kind}"))
        else:
            self.problems.append(Problem(self._place, path, value, rule))

    def _union(self, raw: object, expected: inspect.UnionType, path: str) -> object:
        choices = [t for t in expected.types if not isinstance(t, inspect.NoneType)]
        if raw is None and len(choices) < len(expected.types):
            return None
        if len(choices) == 1:
            return self.clean(raw, choices[0], path)
        if any(_is_scalar(raw, choice) for choice in choices):
            return raw if self._storable(raw, path) else _empty(choices[0])
        self._refuse(path, raw, f"must be {' or '.join(_NAMES[type(c)] for c in choices)}")
        return _empty(choices[0])

    def _scalar(self, raw: object, expected: inspect.Type, path: str) -> object:
        if not _is_scalar(raw, expected):
            self._refuse(path, raw, f"must be {_NAMES[type(expected)]}")
            return _empty(expected)
        return raw if self._storable(raw, path) else _empty(expected)

    def _free(self, raw: object, path: str) -> object:
        """A part whose form is not known here must at least be JSON."""
        before = len(self.problems)
        if isinstance(raw, Mapping):
            for key, value in raw.items():
                if not isinstance(key, str):
                    self._refuse(path, key, "must have strings as keys")
                self._free(value, f"{path}.{key}")
        elif isinstance(raw, list | tuple):
            for i, value in enumerate(raw):
                self._free(value, f"{path}[{i}]")
        elif raw is None or isinstance(raw, bool | int | float | str):
            self._storable(raw, path)
        else:
            self._refuse(path, str(raw), "is not JSON; put it in quotes")
        return raw if len(self.problems) == before else None

    def _storable(self, raw: object, path: str) -> bool:
        """Whether a scalar fits into 64 bits, or is a finite number, or Unicode."""
        before = len(self.problems)
        match raw:
            case bool():
                pass
            case int() if not _INT_FIRST <= raw <= _INT_LAST:
                self._refuse(path, raw, "does not fit into 64 bits")
            case float() if not math.isfinite(raw):
                self._refuse(path, raw, "must be a finite number")
            case str() if not raw.isascii() and _SURROGATE.search(raw):
                self._refuse(path, ascii(raw), "is not Unicode")
            case _:
                pass
        return len(self.problems) == before

    def _sequence(self, raw: object, item: inspect.Type, path: str) -> object:
        if not isinstance(raw, list | tuple):
            self._refuse(path, raw, "must be a list")
            return []
        return [self.clean(each, item, f"{path}[{i}]") for i, each in enumerate(raw)]

    def _mapping(self, raw: object, expected: inspect.DictType, path: str) -> object:
        if not isinstance(raw, Mapping):
            self._refuse(path, raw, "must be a mapping")
            return {}
        for key in raw:
            if not isinstance(key, str):
                self._refuse(path, key, "must have strings as keys")
        return {
            key: self.clean(value, expected.value_type, f"{path}.{key}")
            for key, value in raw.items()
            if isinstance(key, str)
        }

    def _struct(self, raw: object, expected: inspect.StructType, path: str) -> object:
        if not isinstance(raw, Mapping):
            self._refuse(path, raw, "must be a mapping")
            return {}
        known = {field.encode_name: field.type for field in expected.fields}
        cleaned = {}
        for key, value in raw.items():
            here = f"{path}.{key}" if path else str(key)
            if key not in known:
                self._unknown(str(key), here, expected.cls, known)
            elif value is not None:
                cleaned[key] = self.clean(value, known[key], here)
        return cleaned

    def _unknown(self, key: str, here: str, struct: type, known: Iterable[str]) -> None:
        if issubclass(struct, Open) or (struct is Metadata and key in _DROPPED):
            return
        rule = f"{_UNKNOWN}{_meant(nearest(key, known))}"
        self.problems.append(Problem(self._place, here, None, rule))


def _empty(expected: inspect.Type) -> object:
    """The value that stands for one of this type that was wrong."""
    make = _EMPTY.get(type(expected))
    return make() if make else None


def _is_scalar(raw: object, expected: inspect.Type) -> bool:
    """Whether ``raw`` is of this scalar type; true and false are not numbers."""
    wanted = _SCALARS.get(type(expected), ())
    return isinstance(raw, wanted) and (isinstance(raw, bool) is (wanted == (bool,)))


_INFO: dict[str, inspect.Type] = {
    name: inspect.type_info(kind.struct) for name, kind in KINDS.items()
}
