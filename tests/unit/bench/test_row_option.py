"""The lines about networking options: pods over VMs of the same lab, within a round."""

from bench.rounds import Slice, Spent
from bench.row_option import connection_rows, flow_rows


def slices(*seconds):
    """A gigabit each."""
    return [Slice(125_000_000, Spent(s, 0, s), Spent(0, 0, 0)) for s in seconds]


FOUND = {
    "udr pods": slices(2, 8, 2),
    "udr VMs": slices(1, 4, 1),
    "vxlan pods": slices(4, 16, 4),
    "vxlan VMs": slices(1, 5, 1),
}


def figures(rows):
    return {row.name: round(row.figure, 3) for row in rows}


def test_a_flow_is_compared_with_the_nodes_own_of_the_same_round():
    found = figures(flow_rows("", ["udr", "vxlan"], FOUND))
    assert found == {
        "udr pods / udr VMs": 0.5,
        "udr pods / udr VMs, by processor time": 0.5,
        "udr pods": 0.5,
        "udr VMs": 1.0,
        "vxlan pods / vxlan VMs": 0.25,
        "vxlan pods / vxlan VMs, by processor time": 0.25,
        "vxlan pods": 0.25,
        "vxlan VMs": 1.0,
        "vxlan VMs / udr VMs": 1.0,
    }


def test_kinds_of_flow_are_told_apart():
    plain, single = (flow_rows(kind, ["udr"], FOUND) for kind in ("", "a packet a segment: "))
    assert not {row.name for row in plain} & {row.name for row in single}


def test_new_connections_are_compared_likewise():
    found = figures(connection_rows(["vxlan"], FOUND))
    assert found == {
        "new connections: vxlan pods / vxlan VMs": 0.25,
        "new connections: vxlan pods": 31_250_000,
    }
