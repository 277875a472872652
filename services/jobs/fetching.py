"""The input of a job that names an address: fetched, checked and kept as an upload would be."""

from collections.abc import AsyncIterator
from typing import IO
from urllib.parse import unquote, urlsplit

from affectmesh.v1 import jobs_pb2 as pb
from services.billing.plans import PLANS
from services.common import caller, errors
from services.common.media import MediaLoader
from services.jobs import plan_limits
from services.jobs.media import MediaStore
from services.jobs.threads import in_thread

_PIECE_BYTES = 1024 * 1024


class OverPlan(Exception):
    """The file is larger or longer than the plan allows; `problem` says which."""

    def __init__(self, problem: errors.PayloadTooLarge) -> None:
        super().__init__(problem.message)
        self.problem = problem


class Fetching:
    """Fetches in the name of the current caller, within the limits of its plan."""

    def __init__(self, loader: MediaLoader, media: MediaStore) -> None:
        self._loader = loader
        self._media = media

    async def fetch(self, url: str) -> pb.Media:
        """The file behind a public URL. Raises FetchFailed, OverPlan and what an upload raises."""
        asking = caller.required()
        plan = PLANS[asking.plan]
        name = unquote(urlsplit(url).path.rpartition("/")[2])
        try:
            async with self._loader.open(
                kind="recording", url=url, data=b"", limit_bytes=plan.max_upload_bytes
            ) as file:
                return await self._media.receive(
                    asking, pb.MediaDescription(file_name=name), _pieces(file)
                )
        except errors.PayloadTooLarge as error:
            named = error if "plan" in error.details else plan_limits.too_large(plan)
            raise OverPlan(named) from None


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    while piece := await in_thread(file.read, _PIECE_BYTES):
        yield piece
