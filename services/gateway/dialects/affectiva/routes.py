"""Affectiva's endpoints: clients know the index, and follow its links."""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from urllib.parse import quote, urlencode

import orjson
from starlette.routing import Route

from affectmesh.v1 import jobs_pb2 as pb
from services.billing.plans import PLANS
from services.common import errors
from services.common.channels import Channels, call
from services.common.settings import Settings
from services.gateway import uploads
from services.gateway.access import Access
from services.gateway.dialects.affectiva import reading, views
from services.gateway.dialects.affectiva.links import Links, links
from services.gateway.dialects.affectiva.words import Affectiva
from services.gateway.dialects.jobs import Jobs, missing
from services.gateway.dialects.verbs import route
from services.gateway.endpoint import Answer, Exchange
from services.gateway.policy import Policy
from services.gateway.reading import page

_TIMEOUT_S = 10.0
_LISTED = 100
_NO_STORE = {"cache-control": "no-store"}
_NO_MORE: Mapping[str, str] = MappingProxyType({})


def routes(_settings: Settings, channels: Channels, policy: Policy) -> Iterator[Route]:
    """Every route of the dialect."""
    endpoints = _Endpoints(channels, policy)
    words, entry = Affectiva(), "/entries/{entry_id}"
    yield route("/", words, {"GET": endpoints.front})
    yield route("/index", words, {"GET": endpoints.index})
    yield route("/jobs", words, {"GET": endpoints.jobs, "POST": endpoints.create})
    yield route("/jobs/{job_id}", words, {"GET": endpoints.job})
    yield route("/entries", words, {"GET": endpoints.entries})
    yield route(entry, words, {"GET": endpoints.entry})
    annotations = f"{entry}/annotations"
    yield route(annotations, words, {"GET": endpoints.annotations, "POST": endpoints.annotate})
    yield route(f"{annotations}/{{annotation_id}}", words, {"GET": endpoints.annotation})
    form = f"{entry}/representations/{{media_id}}"
    yield route(form, words, {"GET": endpoints.representation})
    yield route(f"{form}/media", words, {"GET": endpoints.media})


class _Endpoints:
    """The handlers."""

    def __init__(self, channels: Channels, policy: Policy) -> None:
        self._channels = channels
        self._access = Access(policy)
        self._jobs = Jobs(channels, pb.DIALECT_AFFECTIVA)

    async def front(self, exchange: Exchange) -> Answer:
        """The index, but for who asks for a page."""
        accepted = exchange.connection.headers.get("accept", "")
        if "text/html" in accepted and "json" not in accepted:
            raise errors.NotFound(
                "There is no page here.", suggestion="Ask for the index with Accept: */*."
            )
        return await self.index(exchange)

    async def index(self, exchange: Exchange) -> Answer:
        """Where everything is; needs no credential. Clients read it with `v1` and without."""
        known = links(exchange.scope)
        services = {"jobs": known.jobs, "entries": known.entries}
        headers = {"cache-control": "no-store", "vary": "accept, x-forwarded-proto"}
        return Answer({"self": known.index, **services, "v1": services}, headers=headers)

    async def create(self, exchange: Exchange) -> Answer:
        """Takes a file and queues a job for it."""
        known = links(exchange.scope)
        admission = await self._access.analyse(exchange)
        plan = PLANS[admission.principal.plan]
        form = await uploads.receive(exchange, self._channels, files=(reading.INPUT,), plan=plan)
        media = form.files.get(reading.INPUT)
        if media is None:
            raise errors.InvalidRequest(
                f"{reading.INPUT} is missing.",
                field=reading.INPUT,
                suggestion="Send a video or an image as a file.",
            )
        try:
            name = reading.job_name(form.fields)
            reading.check_media(name, media)
        except errors.InvalidRequest:
            await self._jobs.discard(media.media_id)
            raise
        job = pb.Job(kind=reading.KINDS[name], input=pb.JobInput(media_id=media.media_id))
        if job.kind != pb.JOB_KIND_NO_OP:
            job.options.update({"sample_rate": 1, "return_action_units": True})
        author = admission.principal.principal_id
        job.metadata.update({"name": name, "file_name": media.file_name, "author": author})
        made = await self._jobs.create(exchange, job)
        headers = {"location": known.job(made.job_id)}
        return Answer(views.created(made, known), 201, headers)

    async def jobs(self, exchange: Exchange) -> Answer:
        """A page of jobs, newest first."""
        known = await self._admit_reader(exchange)
        found, headers = await self._page(exchange, known.jobs)
        return _listed([views.listed(job, known) for job in found], headers)

    async def job(self, exchange: Exchange) -> Answer:
        """A job with its entries."""
        known = await self._admit_reader(exchange)
        job = await self._jobs.get(_named(exchange, "job_id"))
        media = await self._jobs.media(job.input.media_id)
        return Answer(views.job(job, media, known), headers=_NO_STORE)

    async def entries(self, exchange: Exchange) -> Answer:
        """The entries of a page of jobs."""
        known = await self._admit_reader(exchange)
        found, headers = await self._page(exchange, known.entries)
        return _listed(
            [
                {"self": known.entry(name), "annotations": known.annotations(name)}
                for job in found
                for which in _entries(job)
                for name in [views.entry_id(job.job_id, which)]
            ],
            headers,
        )

    async def entry(self, exchange: Exchange) -> Answer:
        """The input or the result of a job."""
        known = await self._admit_reader(exchange)
        job, which = await self._find(exchange)
        media = await self._jobs.media(job.input.media_id)
        return Answer(views.entry(job, which, media, known), headers=_NO_STORE)

    async def representation(self, exchange: Exchange) -> Answer:
        """One form of an entry."""
        known = await self._admit_reader(exchange)
        job, which, form = await self._form(exchange)
        name = views.entry_id(job.job_id, which)
        return Answer(views.representation(name, form, known))

    async def media(self, exchange: Exchange) -> Answer:
        """The bytes of one form."""
        await self._admit_reader(exchange)
        _, _, form = await self._form(exchange)
        kept = await self._jobs.media(form.media_id)
        if kept is None:
            raise missing(form.media_id)
        headers = {
            "content-length": str(kept.size_bytes),
            "content-disposition": f"attachment; filename*=UTF-8''{quote(form.file_name)}",
            "x-content-type-options": "nosniff",
        }
        content = self._jobs.read(form.media_id)
        return Answer(content, headers=headers, media_type=form.content_type)

    async def annotations(self, exchange: Exchange) -> Answer:
        """The notes on an entry, oldest first."""
        known = await self._admit_reader(exchange)
        return _listed([views.annotation(one, known) for one in await self._notes(exchange)])

    async def annotation(self, exchange: Exchange) -> Answer:
        """One note."""
        known = await self._admit_reader(exchange)
        annotation_id = _named(exchange, "annotation_id")
        for one in await self._notes(exchange):
            if one.annotation_id == annotation_id:
                return Answer(views.annotation(one, known))
        raise missing(annotation_id)

    async def annotate(self, exchange: Exchange) -> Answer:
        """Adds a note to an entry."""
        known = links(exchange.scope)
        await self._access.analyse(exchange)
        job, which = await self._find(exchange)
        note = await reading.annotation(exchange, self._channels)
        note.job_id, note.entry = job.job_id, which
        request = pb.CreateAnnotationRequest(annotation=note)
        made = await call("jobs", self._jobs.stub.CreateAnnotation, request, _TIMEOUT_S)
        answer = views.annotation(made, known)
        return Answer(answer, 201, {"location": answer["self"]})

    async def _admit_reader(self, exchange: Exchange) -> Links:
        known = links(exchange.scope)
        await self._access.read(exchange)
        return known

    async def _page(self, exchange: Exchange, url: str) -> tuple[Iterable[pb.Job], dict[str, str]]:
        """The jobs of the page that is asked for, and the link to the next (RFC 8288)."""
        size, token = page(exchange, _LISTED)
        found = await self._jobs.page(size, token)
        if not found.next_page_token:
            return found.jobs, {}
        query = urlencode({"page_size": size, "page_token": found.next_page_token})
        return found.jobs, {"link": f'<{url}?{query}>; rel="next"'}

    async def _find(self, exchange: Exchange) -> tuple[pb.Job, str]:
        name = _named(exchange, "entry_id")
        job_id, which = views.job_of(name)
        if not job_id:
            raise missing(name)
        job = await self._jobs.get(job_id)
        if which not in _entries(job):
            raise missing(name)
        return job, which

    async def _form(self, exchange: Exchange) -> tuple[pb.Job, str, pb.Representation]:
        job, which = await self._find(exchange)
        media_id = _named(exchange, "media_id")
        media = await self._jobs.media(job.input.media_id) if which == views.INPUT else None
        for form in views.forms(job, which, media):
            if form.media_id == media_id:
                return job, which, form
        raise missing(media_id)

    async def _notes(self, exchange: Exchange) -> list[pb.Annotation]:
        job, which = await self._find(exchange)
        request = pb.ListAnnotationsRequest(job_id=job.job_id, entry=which)
        found = await call("jobs", self._jobs.stub.ListAnnotations, request, _TIMEOUT_S)
        return list(found.annotations)


def _entries(job: pb.Job) -> tuple[str, ...]:
    """Which entries a job has."""
    done = job.state == pb.JOB_STATE_DONE
    return (views.INPUT, views.RESULT) if done else (views.INPUT,)


def _named(exchange: Exchange, name: str) -> str:
    return str(exchange.scope["path_params"][name])


def _listed(entries: list[dict[str, str]], headers: Mapping[str, str] = _NO_MORE) -> Answer:
    return Answer(orjson.dumps(entries), headers={**_NO_STORE, **headers})
