"""Whose job comes next: every organisation in turn, whoever has the least at work first."""

import heapq
from collections.abc import Iterable, Mapping


def share(free: int, busy: Mapping[int, int], waiting: Iterable[int], last: int) -> dict[int, int]:
    """How many of `free` places each organisation with waiting jobs may fill.

    Max-min fair: each place goes to whoever would then hold the least, counting what it has at
    work already (`busy`). Among equals it goes in the order of their numbers, starting after
    `last`, the organisation that was served last. An organisation may have fewer jobs than its
    share; the places left over are shared anew.
    """
    orgs = sorted(set(waiting))
    turns = [org for org in orgs if org > last] + [org for org in orgs if org <= last]
    line = [(busy.get(org, 0), turn, org) for turn, org in enumerate(turns)]
    heapq.heapify(line)
    shares: dict[int, int] = {}
    while line and free > 0:
        held, turn, org = line[0]
        shares[org] = shares.get(org, 0) + 1
        heapq.heapreplace(line, (held + 1, turn, org))
        free -= 1
    return shares
