"""The page that describes the API agrees with the code."""

import re
from pathlib import Path

from google.api import annotations_pb2

from services.common import errors
from services.gateway.dialects.wia import SERVICES

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


def leaves(kind: type[errors.AffectMeshError]) -> list[type[errors.AffectMeshError]]:
    return [kind, *(leaf for child in kind.__subclasses__() for leaf in leaves(child))]


def test_the_page_names_every_error_with_its_status() -> None:
    rows = re.findall(r"^\| (\d{3}) \| ([A-Z_, ]+) \|$", PAGE, re.MULTILINE)
    written = {code: int(status) for status, codes in rows for code in codes.split(", ")}
    tree = leaves(errors.AffectMeshError)[1:]
    assert written == {kind.code: kind.http_status for kind in tree}


def test_the_page_names_every_path_of_the_contract() -> None:
    paths = {
        method.GetOptions().Extensions[annotations_pb2.http].post
        for file in SERVICES.values()
        for service in file.services_by_name.values()
        for method in service.methods
    } - {""}
    assert paths == set(re.findall(r"`(/v1/analyze/[a-z/]+)`", PAGE))
