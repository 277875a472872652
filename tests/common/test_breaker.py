"""The circuit breaker and the budget of repetitions."""

from services.common.inference.breaker import FAILURES, Breaker, RetryBudget, State


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock)
    for _ in range(FAILURES):
        assert breaker.lets_through()
        breaker.failed()
    return breaker


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = Breaker(Clock())
    for _ in range(FAILURES - 1):
        breaker.failed()
    breaker.succeeded()
    breaker.failed()
    assert breaker.lets_through()
    assert not opened(Clock()).lets_through()


def test_one_call_tries_after_a_pause() -> None:
    clock = Clock()
    breaker = opened(clock)
    assert breaker.retry_after_s == 1
    clock.now += 1
    assert breaker.lets_through()
    assert breaker.state is State.HALF_OPEN
    assert not breaker.lets_through()
    breaker.succeeded()
    assert breaker.lets_through()
    assert breaker.lets_through()


def test_pauses_grow_to_a_most() -> None:
    clock = Clock()
    breaker = opened(clock)
    pauses = []
    for _ in range(7):
        pauses.append(breaker.retry_after_s)
        clock.now += breaker.retry_after_s
        assert breaker.lets_through()
        breaker.failed()
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


def test_try_that_nobody_waits_for_leaves_the_next_one() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 1
    assert breaker.lets_through()
    breaker.withdrawn()
    assert breaker.lets_through()


def test_budget_is_a_share_of_calls() -> None:
    budget = RetryBudget(share=0.1, most=2)
    assert budget.spend()
    assert budget.spend()
    assert not budget.spend()
    for _ in range(11):
        budget.count()
    assert budget.spend()
    assert not budget.spend()
