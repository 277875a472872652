"""Where jobs may stand, and who comes next."""

import pytest

from affectmesh.v1 import jobs_pb2 as pb
from services.common import errors
from services.jobs.fairness import share
from services.jobs.leases import LEASE_S, Watch
from services.jobs.states import ENDED, MOVES, IllegalMove, State, move


def test_every_state_of_the_contract_has_its_moves() -> None:
    assert {*map(int, State)} == {*pb.JobState.values()} - {pb.JOB_STATE_UNSPECIFIED}
    assert MOVES.keys() == {*State}
    assert {State.DONE, State.ERROR, State.CANCELLED, State.REJECTED} == ENDED


@pytest.mark.parametrize("old", State)
@pytest.mark.parametrize("new", State)
def test_only_legal_moves_pass(old: State, new: State) -> None:
    legal = {
        (State.QUEUED, State.WORKING),
        (State.QUEUED, State.CANCELLED),
        (State.QUEUED, State.REJECTED),
        (State.WORKING, State.DONE),
        (State.WORKING, State.ERROR),
        (State.WORKING, State.CANCELLED),
        (State.WORKING, State.QUEUED),
        (State.WORKING, State.REJECTED),
    }
    if (old, new) in legal:
        assert move(old, new) is new
        return
    with pytest.raises(IllegalMove) as refused:
        move(old, new)
    assert isinstance(refused.value, errors.Conflict)
    assert old.name.lower() in refused.value.message


def test_places_go_round_the_organisations() -> None:
    assert share(4, {}, [1, 2], last=0) == {1: 2, 2: 2}
    assert share(5, {}, [1, 2, 3], last=2) == {3: 2, 1: 2, 2: 1}


def test_who_has_much_at_work_waits_for_the_others() -> None:
    assert share(3, {1: 4}, [1, 2], last=0) == {2: 3}
    assert share(6, {1: 2}, [1, 2], last=0) == {2: 4, 1: 2}


def test_one_organisation_alone_gets_every_place() -> None:
    assert share(7, {9: 3}, [9], last=9) == {9: 7}


def test_nothing_is_shared_where_nothing_is_free_or_nobody_waits() -> None:
    assert share(0, {}, [1, 2], last=0) == {}
    assert share(5, {1: 1}, [], last=1) == {}


class Clock:
    """A clock that is told the time."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_worker_whose_beats_stand_still_is_dead() -> None:
    clock = Clock()
    watch = Watch(clock)
    beats = {"lives": 0, "dies": 7}
    dead = []
    for _ in range(int(LEASE_S) + 1):
        dead = watch.look(beats)
        clock.now += 1
        beats["lives"] += 1
    assert dead == ["dies"]


def test_whoever_slept_itself_declares_nobody_dead() -> None:
    clock = Clock()
    watch = Watch(clock)
    watch.look({"worker": 1})
    clock.now += 10 * LEASE_S
    assert watch.look({"worker": 1}) == []
    clock.now += 1
    assert watch.look({"worker": 2}) == []
