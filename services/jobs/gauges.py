"""How many jobs wait and run, for whoever watches or scales the workers."""

from collections.abc import Callable

from sqlalchemy import func, select

from services.common import metrics
from services.common.database import Database, fetch_all, fetch_one
from services.jobs.states import State
from services.jobs.tables import jobs, workers


class Gauges:
    """The figures of the records, as every job service sees them."""

    def __init__(self, database: Database, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._now_ms = now_ms

    async def read(self) -> None:
        """Reads them anew. Raises Unavailable."""
        now = self._now_ms()
        alive = (State.QUEUED, State.WORKING)
        count = select(jobs.c.state, func.count().label("jobs")).where(jobs.c.state.in_(alive))
        oldest = select(func.min(jobs.c.not_before_ms).label("since")).where(
            jobs.c.state == State.QUEUED, jobs.c.not_before_ms <= now
        )
        places = select(func.coalesce(func.sum(workers.c.slots), 0).label("places"))
        async with self._database.read() as connection:
            found = {
                row["state"]: row["jobs"]
                for row in await fetch_all(connection, count.group_by(jobs.c.state))
            }
            since = (await fetch_one(connection, oldest))["since"]
            slots = (await fetch_one(connection, places))["places"]
        for state in alive:
            metrics.JOBS.labels(state.name.lower()).set(found.get(state, 0))
        metrics.JOBS_OLDEST_SECONDS.set(0 if since is None else max(0, now - since) / 1000)
        metrics.JOB_PLACES.set(slots)
