"""WIA's form of a result: the JSON that the request of the same analysis answers."""

from collections.abc import Iterator

import orjson
from google.protobuf.message import Message

from affectmesh.v1 import jobs_pb2 as pb
from services.common.transcoding import renderer
from services.jobs.representations.file import File


def render(_job: pb.Job, message: Message) -> Iterator[File]:
    """The one file."""
    content = orjson.dumps(renderer(message.DESCRIPTOR)(message))
    yield File("application/json", "result.json", content)
