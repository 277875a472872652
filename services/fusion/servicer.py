"""The fusion service's contract."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, get_args

import grpc

from affectmesh.v1 import fusion_pb2, fusion_pb2_grpc, types_pb2
from services.common import errors, results
from services.common.channels import call
from services.common.server import Service
from services.fusion import footage, messages, recording
from services.fusion.analyze import LOW_QUALITY, Fusion, Method, Opinion, fuse
from services.fusion.depth import Depth, read_depth
from services.fusion.modalities import MODALITIES, Answer
from services.fusion.recording import Gatherer
from services.fusion.report import compose
from services.fusion.weights import choose_weights

VERSION = "1.0.0"
"""Of the formulas in analyze.py."""
METHODS: tuple[Method, ...] = get_args(Method)
DISAGREEMENT = 0.5
"""An agreement below this is named in a warning."""
_LEAST_CONFIDENCE = 0.01
_MARGIN = 0.1
_MARGIN_S = 0.25

Answers = Mapping[str, Answer]
Failures = Mapping[str, errors.AffectMeshError]


class FusionServicer(fusion_pb2_grpc.FusionServiceServicer):
    """Asks each modality's service and weighs the answers."""

    def __init__(self, service: Service) -> None:
        self._channels = service.channels
        self._media = service.media
        self._longest_s = service.settings.request_timeout_s

    async def AnalyzeMultimodal(
        self,
        request: fusion_pb2.AnalyzeMultimodalRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> fusion_pb2.AnalyzeMultimodalResponse:
        watch = results.Stopwatch()
        sent = [field.name for field, _ in request.modalities.ListFields()]
        if not sent:
            raise errors.InvalidRequest(
                "No modality was sent.",
                field="modalities",
                suggestion=f"Send at least one of {', '.join(MODALITIES)}.",
            )
        method = _read_method(request.fusion.method)
        weights = choose_weights(request.fusion.weights, sent)
        answers, failures = await self._ask(request.modalities, sent, self._patience(context))
        if not any(weights[name] for name in answers):
            raise _error_of_all(failures, weights)
        opinions = [answer.opinion for answer in answers.values()]
        counted = [one for one in opinions if weights[one.modality] and not one.silent]
        fusion = fuse(
            [one for one in opinions if not one.silent] if counted else opinions, weights, method
        )
        return fusion_pb2.AnalyzeMultimodalResponse(
            **watch.head(),
            fused_result=_fused_result(fusion),
            modality_results={name: answer.result for name, answer in answers.items()},
            fusion_details=fusion_pb2.FusionDetails(
                method=method,
                weights_used=_rounded(fusion.weights),
                agreement_score=round(fusion.agreement, 4),
                contributions=_rounded(fusion.contributions),
                failed={name: f"{error.code}: {error.message}" for name, error in failures.items()},
            ),
            warnings=_warnings(request.fusion.weights, answers, failures, fusion),
            provenance=_provenance(answers.values(), method),
        )

    async def AnalyzeRecording(
        self,
        request: fusion_pb2.AnalyzeRecordingRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[fusion_pb2.AnalyzeRecordingResponse]:
        watch = results.Stopwatch()
        depth = read_depth(request.depth)
        done = dict.fromkeys(recording.SHARES, 0.0)
        progress: asyncio.Queue[float | None] = asyncio.Queue()

        def report(name: str, share: float) -> None:
            if share > done[name]:
                done[name] = share
                progress.put_nowait(math.fsum(recording.SHARES[one] * done[one] for one in done))

        left_s = context.time_remaining()
        until_s = (
            math.inf if left_s is None else asyncio.get_running_loop().time() + _within(left_s)
        )
        gatherer = Gatherer(self._channels, depth, self._longest_s, until_s, report)
        work = asyncio.create_task(self._analyze_recording(request, depth, gatherer))
        work.add_done_callback(lambda _: progress.put_nowait(None))
        try:
            yield fusion_pb2.AnalyzeRecordingResponse(progress=0)
            while (share := await progress.get()) is not None:
                yield fusion_pb2.AnalyzeRecordingResponse(progress=round(share, 4))
            analysis = await work
            yield fusion_pb2.AnalyzeRecordingResponse(progress=1)
            analysis.MergeFrom(fusion_pb2.RecordingAnalysis(**watch.head()))
            yield fusion_pb2.AnalyzeRecordingResponse(result=analysis)
        finally:
            work.cancel()
            await asyncio.wait([work])

    async def _analyze_recording(
        self, request: fusion_pb2.AnalyzeRecordingRequest, depth: Depth, gatherer: Gatherer
    ) -> fusion_pb2.RecordingAnalysis:
        async with self._media.open(
            kind="video",
            url=request.video_url,
            data=request.video,
            media_id=request.media_id,
            limit_bytes=footage.MAX_BYTES,
        ) as file:
            request.ClearField("video")
            signals = request.biosignal if request.HasField("biosignal") else None
            found = await gatherer.gather(file, request.language, signals)
        return await asyncio.to_thread(compose, found, depth, request.biosignal_start_ms)

    def _patience(self, context: grpc.aio.ServicerContext[Any, Any]) -> float:
        """Seconds a modality may take, so that what the others said still arrives in time."""
        left = context.time_remaining()
        if left is None:
            return self._longest_s
        return max(0.0, min(self._longest_s, left) - (left - _within(left)))

    async def _ask(
        self, inputs: fusion_pb2.Modalities, sent: Iterable[str], timeout_s: float
    ) -> tuple[dict[str, Answer], dict[str, errors.AffectMeshError]]:
        """The answers and the errors, by modality; all are asked at once."""
        async with asyncio.TaskGroup() as group:
            tasks = {
                name: group.create_task(self._ask_one(name, getattr(inputs, name), timeout_s))
                for name in sent
            }
        answers: dict[str, Answer] = {}
        failures: dict[str, errors.AffectMeshError] = {}
        for name, task in tasks.items():
            outcome = task.result()
            if isinstance(outcome, Answer):
                answers[name] = outcome
            else:
                failures[name] = outcome
        return answers, failures

    async def _ask_one(
        self, name: str, given: Any, timeout_s: float
    ) -> Answer | errors.AffectMeshError:
        modality = MODALITIES[name]
        try:
            modality.prepare(given)
            response = await call(name, modality.method(self._channels), given, timeout_s)
            return modality.read(response)
        except errors.AffectMeshError as error:
            return error


async def register(server: grpc.aio.Server, service: Service) -> str:
    """Adds the fusion service to a server."""
    servicer = FusionServicer(service)
    fusion_pb2_grpc.add_FusionServiceServicer_to_server(servicer, server)
    return str(fusion_pb2.DESCRIPTOR.services_by_name["FusionService"].full_name)


def _within(left_s: float) -> float:
    """The time left less what it takes to answer with what there is."""
    return left_s - min(_MARGIN_S, left_s * _MARGIN)


def _read_method(given: str) -> Method:
    for method in METHODS:
        if method == (given or METHODS[0]):
            return method
    raise errors.InvalidRequest(
        f"fusion.method is {given[:40]!r}.",
        field="fusion.method",
        suggestion=f"Send one of {', '.join(METHODS)}, or leave it out for {METHODS[0]}.",
    )


def _error_of_all(failures: Failures, weights: Mapping[str, float]) -> errors.AffectMeshError:
    """The error of the modality that counts most; it names the others that failed."""
    first = max(failures, key=lambda name: weights[name])
    error = failures[first]
    others = [f"{name}: {other.code}" for name, other in failures.items() if name != first]
    if not others:
        return error
    return type(error)(error.message, **{**error.details, "also_failed": ", ".join(others)})


def _fused_result(fusion: Fusion) -> fusion_pb2.FusedResult:
    result = fusion_pb2.FusedResult(uncertainty=round(fusion.uncertainty, 4))
    if fusion.emotions:
        result.emotions.CopyFrom(
            results.emotions(fusion.emotions, fusion.derived, _LEAST_CONFIDENCE)
        )
    if fusion.entropy is not None:
        result.entropy = round(fusion.entropy, 4)
    if measured := messages.dimensions(fusion):
        result.dimensions.CopyFrom(measured)
    return result


def _warnings(
    given: Mapping[str, float], answers: Answers, failures: Failures, fusion: Fusion
) -> list[types_pb2.Warning]:
    found: dict[str, list[tuple[str, str]]] = {name: [] for name in MODALITIES}
    for name, error in failures.items():
        found[name].append((error.code, f"{name} is left out: {error.message}"))
    for name, weight in given.items():
        if weight and name not in answers and name not in failures:
            found[name].append(
                ("MODALITY_MISSING", f"{name} was not sent; its weight goes to the others.")
            )
    for name, answer in answers.items():
        found[name].extend((warning.code, warning.message) for warning in answer.warnings)
        found[name].extend(_warn_of(answer.opinion, bool(given) and not given.get(name)))
    listed = [warning for of_one in found.values() for warning in of_one]
    if fusion.agreement < DISAGREEMENT:
        listed.append(
            ("MODALITIES_DISAGREE", "The modalities contradict each other; look at each of them.")
        )
    return [types_pb2.Warning(code=code, message=message) for code, message in listed]


def _warn_of(opinion: Opinion, unweighed: bool) -> Iterable[tuple[str, str]]:
    name = opinion.modality
    if unweighed:
        yield "MODALITY_NOT_WEIGHED", f"{name} has no weight: it is analysed and not counted."
    if opinion.silent:
        yield "MODALITY_SILENT", f"{name} gave neither emotions nor dimensions."
    elif opinion.quality < LOW_QUALITY:
        yield "LOW_QUALITY", f"{name} counts less, for its quality is {opinion.quality:.2f}."


def _provenance(answers: Iterable[Answer], method: str) -> list[types_pb2.Provenance]:
    """The models of every answer, each once, and the method."""
    models = [model for answer in answers for model in answer.provenance]
    models.append(types_pb2.Provenance(model=f"late_fusion_{method}", version=VERSION))
    return messages.distinct(models)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}
