"""The job service's contract."""

import grpc

from affectmesh.v1 import jobs_pb2, jobs_pb2_grpc
from services.common.server import Service


class JobServicer(jobs_pb2_grpc.JobServiceServicer):
    """No method is built yet: each answers UNIMPLEMENTED, saying so."""


async def register(server: grpc.aio.Server, _service: Service) -> str:
    """Adds the job service to a server."""
    jobs_pb2_grpc.add_JobServiceServicer_to_server(JobServicer(), server)  # type: ignore[abstract]
    return str(jobs_pb2.DESCRIPTOR.services_by_name["JobService"].full_name)
