"""Where a job may stand and how it may move."""

from collections.abc import Mapping
from enum import IntEnum

from affectmesh.v1 import jobs_pb2 as pb
from services.common import errors


class State(IntEnum):
    """The states of the contract."""

    QUEUED = pb.JOB_STATE_QUEUED
    WORKING = pb.JOB_STATE_WORKING
    DONE = pb.JOB_STATE_DONE
    ERROR = pb.JOB_STATE_ERROR
    CANCELLED = pb.JOB_STATE_CANCELLED
    REJECTED = pb.JOB_STATE_REJECTED


MOVES: Mapping[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.WORKING, State.CANCELLED, State.REJECTED}),
    State.WORKING: frozenset(
        {State.DONE, State.ERROR, State.CANCELLED, State.QUEUED, State.REJECTED}
    ),
    State.DONE: frozenset(),
    State.ERROR: frozenset(),
    State.CANCELLED: frozenset(),
    State.REJECTED: frozenset(),
}
"""From each state, the states that may follow."""

ENDED = frozenset(state for state, following in MOVES.items() if not following)
"""States that nothing follows."""


class IllegalMove(errors.Conflict):
    """A job cannot go from where it stands to where it was told to go."""

    def __init__(self, old: State, new: State) -> None:
        super().__init__(
            f"A job that is {old.name.lower()} cannot become {new.name.lower()}.",
            state=old.name,
            suggestion="Ask for the job to see where it stands.",
        )


def move(old: State, new: State) -> State:
    """The new state. Raises IllegalMove."""
    if new not in MOVES[old]:
        raise IllegalMove(old, new)
    return new
