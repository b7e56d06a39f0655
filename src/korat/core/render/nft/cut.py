"""The guard that keeps a cut connection from living on the other way round.

Once an entry of connection tracking is deleted, the client's next packet is judged as a new
connection's and denied; that was the point. But the next packet of the *server* is a new
connection too, from server to client, and policy may well allow that. Conntrack then takes what the
client sends for replies, and the connection goes on. So whoever cuts a connection writes the tuple
of its replies here first. Only packets that begin a connection, of workloads and of interfaces that
host endpoints govern, are looked up; one that is found is dropped, unless it opens a TCP
connection, which no reply does.

A tuple stays as long as connection tracking would have remembered the connection. Where nothing
but silence tells a connection from a new one, as with UDP, being found keeps it for longer. What
the client itself begins again has another tuple, and is a matter of policy alone.

Source: nft(8), sets with a timeout; the kernel's nf_conntrack_proto_tcp.c (nf_conntrack_tcp_loose).
"""

from collections.abc import Iterable, Iterator, Mapping

from korat.core.net.address import Addr, Family
from korat.core.net.port import Protocol
from korat.core.render.nft.key import SYN, Field, Key
from korat.core.render.nft.ruleset import (
    TABLE,
    Chain,
    Lookup,
    NamedSet,
    Rule,
    Ruleset,
    add_timed_elements,
    declare_lookup,
    rule,
)
from korat.core.render.nft.statement import (
    DROP,
    REJECT,
    RETURN,
    Counter,
    InSet,
    Match,
    Statement,
    jump,
)
from korat.core.table.rejudge import Connection

_CHAIN = "cut"
#: As long as Linux remembers a UDP stream.
QUIET_S = 120
#: More than Linux tracks by default; the memory is used only as far as it fills.
_SIZE = 1 << 20
_PORTS = (Field.L4PROTO, Field.SPORT, Field.DPORT)
_FIELDS: Mapping[Family, tuple[Field, ...]] = {
    Family.V4: (Field.IP_SADDR, Field.IP_DADDR, *_PORTS),
    Family.V6: (Field.IP6_SADDR, Field.IP6_DADDR, *_PORTS),
}
_NO_TCP = Match(Field.L4PROTO, (Protocol.TCP,), negated=True)


def set_name(family: Family) -> str:
    """The set of one IP version."""
    return f"cut-{family}"


#: The sets by name; what is in them is never part of a ruleset.
CUT_SETS: Mapping[str, NamedSet] = {
    set_name(family): NamedSet(tuple(field.type for field in fields), timeout_s=QUIET_S, size=_SIZE)
    for family, fields in _FIELDS.items()
}


def render_cut(*, reject: bool) -> Ruleset:
    """The sets, and the chain where what is in them ends; ``reject`` says how."""
    longer = (InSet(fields, set_name(f), renewed=True) for f, fields in _FIELDS.items())
    chain = Chain(
        (
            rule(Match(Field.TCP_FLAGS, (SYN,)), RETURN),
            # TCP is remembered for days as it is, which this would shorten.
            *(rule(_NO_TCP, renewed) for renewed in longer),
            rule(Counter(), REJECT if reject else DROP, comment="reply of a cut connection"),
        )
    )
    lookups: dict[str, Lookup] = dict(CUT_SETS)
    return Ruleset(lookups, {_CHAIN: chain})


def ask_cut(*when: Statement) -> tuple[Rule, ...]:
    """The rules that send what is in the sets to its end, where all of ``when`` holds."""
    return tuple(
        rule(*when, InSet(fields, set_name(family)), jump(_CHAIN))
        for family, fields in _FIELDS.items()
    )


def cut_key(connection: Connection) -> Key:
    """The key of a connection's replies."""
    back = connection.reply
    return back.src.value, back.dst.value, connection.protocol, back.a, back.b


#: What is in the sets: for each family, keys and for how many seconds more.
Cuts = Mapping[Family, Mapping[Key, int]]


def add_cuts(cuts: Cuts) -> Iterator[str]:
    """Transactions that put these into the sets, which must be there."""
    for family, times in cuts.items():
        name = set_name(family)
        for command in add_timed_elements(name, CUT_SETS[name], times):
            yield f"{command}\n"


def replaces_table(transaction: str) -> bool:
    """Whether a transaction loads the whole table, so that what is in the sets now would go."""
    return transaction.startswith(f"add table {TABLE}\ndelete table {TABLE}\n")


def keep_cuts(transaction: str, cuts: Cuts) -> str:
    """A transaction that loads the whole table, with what the sets hold now put back."""
    there = all(declare_lookup(name, lookup) in transaction for name, lookup in CUT_SETS.items())
    return "".join((transaction, *add_cuts(cuts))) if there else transaction


def read_cuts(elements: Iterable[object]) -> dict[Key, int]:
    """What a set holds, from nft's JSON of its elements; what cannot be read is left out."""
    found: dict[Key, int] = {}
    for element in elements:
        match element:
            case {
                "elem": {
                    "val": {"concat": [str(src), str(dst), int(protocol), int(a), int(b)]},
                    "expires": int(left_s),
                }
            }:
                key = (Addr.parse(src).value, Addr.parse(dst).value, protocol, a, b)
                found[key] = max(left_s, 1)
            case _:
                pass
    return found
