"""Every request that the Affectiva document shows, and what its clients read of the answers."""

import csv
import io
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest

from affectmesh.v1 import jobs_pb2 as pb
from services.common.resources import new_id
from services.gateway.dialects.affectiva import views
from services.gateway.dialects.affectiva.links import Links
from services.mesh.temporary import TemporaryMesh
from tests.contract.following import followed
from tests.contract.shapes import differences
from tests.contract.tenants import tenant
from tests.jobs.measured import footage

SAMPLES = Path(__file__).parents[2] / "samples"
PHOTOGRAPH = (SAMPLES / "face" / "astronaut.jpg").read_bytes()
SPEECH = (SAMPLES / "voice" / "austen-0870.flac").read_bytes()
ACCEPT = {"accept": "application/json"}
SESSION = "application/vnd.affectiva.session.v0+json"
METRICS = "application/vnd.affectiva.metrics.v0+json"
CSV = "application/csv"

ENTRY = {
    "annotations": "EntryAnnotationURL",
    "author": "author@affdex.com",
    "source": "Affectiva/Documentation",
    "media_seconds": 29.0,
    "published": "2016-06-28T11:50:48-04:00",
    "representations": [
        {
            "content_type": SESSION,
            "file_name": "face-video.mp4-metrics.json",
            "media": "URL to download this representation's media",
            "self": "URL of this representation",
        }
    ],
    "self": "EntryURL",
    "updated": "2016-06-28T11:50:48-04:00",
}
ANNOTATION = {
    "author": "author@affdex.com",
    "source": "Affectiva/Documentation",
    "entry": "EntryURL",
    "key": "foo",
    "self": "Annotation1URL",
    "value": "bar",
}
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest.fixture(scope="module")
async def user(mesh: TemporaryMesh) -> AsyncIterator[httpx.AsyncClient]:
    """A client as Affectiva's: HTTP Basic, and the index for all else."""
    async with httpx.AsyncClient(
        base_url=mesh.address, auth=("user", mesh.key), headers=ACCEPT, timeout=120
    ) as client:
        yield client


@pytest.fixture(scope="module")
async def index(mesh: TemporaryMesh) -> dict[str, Any]:
    async with httpx.AsyncClient(timeout=60) as stranger:
        response = await stranger.get(f"{mesh.address}/", headers=ACCEPT)
    assert response.status_code == 200
    found: dict[str, Any] = response.json()
    return found


async def create(
    user: httpx.AsyncClient,
    index: dict[str, Any],
    media: bytes,
    name: str | None = None,
    file_name: str = "face-video.mp4",
) -> dict[str, Any]:
    files: dict[str, Any] = {"entry_job[input]": (file_name, media)}
    if name is not None:
        files["entry_job[name]"] = (None, name)
    response = await user.post(index["v1"]["jobs"], files=files)
    assert response.status_code == 201, response.text
    job: dict[str, Any] = response.json()
    assert response.headers["location"] == job["self"]
    return job


async def finished(user: httpx.AsyncClient, job: dict[str, Any]) -> dict[str, Any]:
    return await followed(user, job["self"], lambda now: now["status"] in ("done", "error"))


def grey_video(frames: int) -> bytes:
    """Nothing to see, 25 times a second."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
        picture = np.full((96, 96, 3), 90, np.uint8)
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


@pytest.fixture(scope="module")
async def multiface(user: httpx.AsyncClient, index: dict[str, Any]) -> dict[str, Any]:
    """A multiface job of a video, done."""
    job = await create(user, index, footage())
    return await finished(user, job)


async def media(user: httpx.AsyncClient, job: dict[str, Any], content_type: str) -> httpx.Response:
    """As clients get it: by the link of the representation of that type."""
    for representation in job["result"]["representations"]:
        if representation["content_type"] == content_type:
            response = await user.get(representation["media"], follow_redirects=True)
            assert response.status_code == 200, response.text
            assert response.headers["content-type"].startswith(content_type)
            return response
    raise AssertionError(content_type)


@pytest.mark.parametrize("path", ["/", "/index"])
async def test_index_needs_no_credentials(mesh: TemporaryMesh, path: str) -> None:
    async with httpx.AsyncClient(base_url=mesh.address, timeout=60) as stranger:
        response = await stranger.get(path, headers=ACCEPT)
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        found = response.json()
        assert found["jobs"] == found["v1"]["jobs"] == f"{mesh.address}/jobs"
        assert found["entries"] == found["v1"]["entries"] == f"{mesh.address}/entries"
        assert (await stranger.get(path)).json() == found


async def test_index_is_no_page(mesh: TemporaryMesh) -> None:
    async with httpx.AsyncClient(base_url=mesh.address, timeout=60) as stranger:
        response = await stranger.get("/", headers={"accept": "text/html,*/*;q=0.8"})
    assert response.status_code == 404


async def test_links_are_of_the_address_that_was_asked(mesh: TemporaryMesh) -> None:
    async with httpx.AsyncClient(base_url=mesh.address, timeout=60) as stranger:
        for host in ("emotions.example:8443", "affect_mesh", "[2001:db8::1]:80"):
            headers = {"host": host, "x-forwarded-proto": "https"}
            found = (await stranger.get("/index", headers=headers)).json()
            assert found["jobs"] == f"https://{host}/jobs"
        for proto in ("javascript", "https://evil.example/?", "HTTPS, http"):
            found = (await stranger.get("/index", headers={"x-forwarded-proto": proto})).json()
            scheme = "https" if proto.startswith("HTTPS") else "http"
            assert found["jobs"] == mesh.address.replace("http", scheme, 1) + "/jobs"
        for host in ("evil.example/path", "user@evil.example", 'a"b', "a b", ""):
            response = await stranger.get("/index", headers={"host": host})
            assert response.status_code == 400


async def test_multiface_is_assumed(
    user: httpx.AsyncClient, index: dict[str, Any], multiface: dict[str, Any]
) -> None:
    job = await create(user, index, footage())
    sample = {
        "updated": "20130626T21:28:39Z",
        "published": "20130626T21:28:39Z",
        "self": "Job URL",
        "status": "queued",
        "input": [],
        "author": "",
        "name": "",
    }
    assert not differences(sample, job)
    assert job["status"] == "queued"
    assert job["name"] == "multiface"
    assert job["input"] == []
    assert RFC_3339.fullmatch(job["published"])
    assert multiface["status"] == "done"
    assert not differences({"input": ENTRY, "result": ENTRY}, multiface)
    assert multiface["input"]["media_seconds"] == pytest.approx(0.2)
    [given] = multiface["input"]["representations"]
    assert (given["content_type"], given["file_name"]) == ("video/mp4", "face-video.mp4")
    assert (await user.get(given["media"])).content == footage()


async def test_session_as_json_and_csv(user: httpx.AsyncClient, multiface: dict[str, Any]) -> None:
    assert [one["file_name"] for one in multiface["result"]["representations"]] == [
        "face-video.mp4-metrics.json",
        "face-video.mp4-metrics.csv",
    ]
    session = (await media(user, multiface, SESSION)).json()
    sample = {
        "content_type": SESSION,
        "configuration": {"smile": "smilect_nonlinear_causal"},
        "frames": [{"time": 59.637, "faces": {}}],
    }
    assert not differences(sample, session)
    assert [len(frame["faces"]) for frame in session["frames"]] == [1, 1, 0, 2, 2]
    for frame in session["frames"]:
        for face in frame["faces"].values():
            assert set(face) == set(session["configuration"])
            assert face["joy"] > 50
            assert face["mean face luminance"] > 0
    rows = list(csv.DictReader(io.StringIO((await media(user, multiface, CSV)).text)))
    assert len(rows) == 7
    assert rows[2]["smile"] == "TF"
    assert 0 <= float(rows[0]["smile"]) <= 100


async def test_still_images_are_processed_too(
    user: httpx.AsyncClient, index: dict[str, Any]
) -> None:
    job = await finished(user, await create(user, index, PHOTOGRAPH, "multiface", "me.jpg"))
    assert job["status"] == "done", job
    [frame] = (await media(user, job, SESSION)).json()["frames"]
    [face] = frame["faces"].values()
    assert face["joy"] > 50


@pytest.mark.parametrize(
    ("name", "smile", "pack"),
    [
        ("current-pack", "smile", "affectmesh"),
        ("ct-pack-linear", "smilect", "ct-linear"),
        ("ct-pack-hybrid", "smilect", "ct-hybrid"),
    ],
)
async def test_single_faces(
    user: httpx.AsyncClient, index: dict[str, Any], name: str, smile: str, pack: str
) -> None:
    job = await finished(user, await create(user, index, footage(), name))
    assert job["status"] == "done", job
    found = (await media(user, job, METRICS)).json()
    assert found["content_type"] == METRICS
    assert found["pack"] == pack
    assert found["metric_map"]["smile"] == "smilect"
    metrics = found["metrics"]
    assert metrics["time stamp (msec)"] == [0, 40, 80, 120, 160]
    assert [value == "TF" for value in metrics[smile]] == [False, False, True, False, False]
    assert {len(values) for values in metrics.values()} == {5}
    rows = list(csv.DictReader(io.StringIO((await media(user, job, CSV)).text)))
    assert [row[smile] for row in rows] == [str(value) for value in metrics[smile]]


async def test_lists_are_followed_page_by_page(mesh: TemporaryMesh, index: dict[str, Any]) -> None:
    async with await (await tenant(mesh)).client() as user:
        made = [
            (await create(user, index, PHOTOGRAPH, "no-op", "face.jpg"))["self"] for _ in range(5)
        ]
        for name in ("jobs", "entries"):
            pages: list[list[str]] = []
            url = f"{index['v1'][name]}?page_size=2"
            while url:
                page = await user.get(url)
                pages.append([re.findall("job_[a-z0-9]+", one["self"])[0] for one in page.json()])
                url = page.links.get("next", {}).get("url", "")
            found = [list(dict.fromkeys(page)) for page in pages]
            newest_first = [url.rpartition("/")[2] for url in reversed(made)]
            assert found == [newest_first[:2], newest_first[2:4], newest_first[4:]]
        whole = await user.get(index["v1"]["jobs"])
        assert (len(whole.json()), whole.links) == (5, {})
        for wrong in ("page_size=many", "page_token=?"):
            assert (await user.get(f"{index['v1']['jobs']}?{wrong}")).status_code == 422


async def test_no_op_does_nothing(user: httpx.AsyncClient, index: dict[str, Any]) -> None:
    job = await finished(user, await create(user, index, SPEECH, "no-op", "speech.flac"))
    assert job["status"] == "done"
    assert job["result"]["representations"] == []


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (pb.JOB_STATE_QUEUED, "queued"),
        (pb.JOB_STATE_WORKING, "working"),
        (pb.JOB_STATE_DONE, "done"),
        (pb.JOB_STATE_ERROR, "error"),
        (pb.JOB_STATE_CANCELLED, "error"),
        (pb.JOB_STATE_REJECTED, "error"),
    ],
)
def test_every_state_has_a_status(state: "pb.JobState.ValueType", status: str) -> None:
    job = pb.Job(job_id=new_id("job"), state=state)
    if state == pb.JOB_STATE_ERROR:
        job.error.code, job.error.message = "INVALID_VIDEO", "No frame could be read."
    shown = views.job(job, None, Links("https://emotions.example"))
    assert shown["status"] == status
    assert ("result" in shown) is (status == "done")
    assert ("error" in shown) is (status == "error")
    if state == pb.JOB_STATE_ERROR:
        assert shown["error"] == {"code": "INVALID_VIDEO", "message": "No frame could be read."}


async def test_links_of_a_job_are_followed(
    user: httpx.AsyncClient, index: dict[str, Any], multiface: dict[str, Any]
) -> None:
    listed = (await user.get(index["jobs"])).json()
    assert multiface["self"] in [one["self"] for one in listed]
    entries = [one["self"] for one in (await user.get(index["entries"])).json()]
    for which in ("input", "result"):
        entry = multiface[which]
        assert entry["self"] in entries
        assert (await user.get(entry["self"])).json() == entry
        for representation in entry["representations"]:
            assert (await user.get(representation["self"])).json() == representation
    given = multiface["input"]["representations"][0]
    response = await user.get(given["media"])
    assert response.headers["content-disposition"].startswith("attachment")
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_annotations_are_added_and_read(
    user: httpx.AsyncClient, multiface: dict[str, Any]
) -> None:
    url = multiface["result"]["annotations"]
    assert (await user.get(url)).json() == []
    body = {"annotation": {"source": "Affectiva/Documentation", "key": "foo2", "value": "bar2"}}
    response = await user.post(url, json=body)
    assert response.status_code == 201, response.text
    made = response.json()
    assert set(made) == set(ANNOTATION)
    assert made["entry"] == multiface["result"]["self"]
    assert {name: made[name] for name in body["annotation"]} == body["annotation"]
    assert (await user.get(made["self"])).json() == made
    form = {"annotation[key]": "k" * 255, "annotation[value]": "ü" * 255}
    by_form = (await user.post(url, data=form)).json()
    assert (by_form["key"], by_form["value"], by_form["source"]) == ("k" * 255, "ü" * 255, "")
    parts = {name: (None, value) for name, value in form.items()}
    assert (await user.post(url, files=parts)).status_code == 201
    listed = (await user.get(url)).json()
    assert not differences([ANNOTATION], listed)
    assert listed[:2] == [made, by_form]
    assert (await user.get(multiface["input"]["annotations"])).json() == []


@pytest.mark.parametrize(
    "annotation",
    [
        {"key": "a"},
        {"value": "b"},
        {"key": "", "value": "b"},
        {"key": "k" * 256, "value": "b"},
        {"key": "a", "value": "v" * 256},
        {"key": "a", "value": "b", "source": "s" * 256},
        {"key": 5, "value": "b"},
        {"key": "a", "value": ["b"]},
        "a",
        None,
    ],
)
async def test_bad_annotations_are_refused(
    user: httpx.AsyncClient, multiface: dict[str, Any], annotation: Any
) -> None:
    url = multiface["input"]["annotations"]
    check_refusal(await user.post(url, json={"annotation": annotation}), 422)


def check_refusal(response: httpx.Response, status: int) -> None:
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error", "code", "details"}
    assert body["error"]
    assert isinstance(body["error"], str)
    assert body["details"]["suggestion"]


async def test_malformed_bodies_are_refused(
    user: httpx.AsyncClient, index: dict[str, Any], multiface: dict[str, Any]
) -> None:
    url = multiface["input"]["annotations"]
    json_type = {"content-type": "application/json"}
    check_refusal(await user.post(url, content=b"{", headers=json_type), 400)
    check_refusal(await user.post(url, content=b"x", headers={"content-type": "text/plain"}), 415)
    jobs = index["jobs"]
    check_refusal(await user.post(jobs, json={}), 415)
    form_type = {"content-type": "multipart/form-data; boundary=x"}
    check_refusal(await user.post(jobs, content=b"--x\r\nnonsense", headers=form_type), 400)


@pytest.mark.parametrize("credential", [None, ("user", "sk_live_" + "0" * 32), ("", "")])
async def test_credentials_are_asked_for(
    mesh: TemporaryMesh, multiface: dict[str, Any], credential: tuple[str, str] | None
) -> None:
    form = multiface["result"]["representations"][0]
    async with httpx.AsyncClient(auth=credential, timeout=60) as stranger:
        for url in (
            f"{mesh.address}/jobs",
            multiface["self"],
            multiface["result"]["self"],
            multiface["result"]["annotations"],
            form["self"],
            form["media"],
        ):
            response = await stranger.get(url, headers=ACCEPT)
            check_refusal(response, 401)
            assert response.headers["www-authenticate"].startswith('Basic realm="')
        files = {"entry_job[input]": ("a.mp4", b"x")}
        check_refusal(await stranger.post(f"{mesh.address}/jobs", files=files), 401)


@pytest.mark.parametrize("header", ["x-wia-api-key", "x-api-key", "authorization"])
async def test_any_of_our_keys_is_a_credential(
    mesh: TemporaryMesh, multiface: dict[str, Any], header: str
) -> None:
    value = f"Bearer {mesh.key}" if header == "authorization" else mesh.key
    async with httpx.AsyncClient(timeout=60) as client:
        response = await client.get(multiface["self"], headers={header: value})
        assert response.status_code == 200
        by_name = await client.get(multiface["self"], auth=(mesh.key, ""))
        assert by_name.status_code == 200


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ({"entry_job[name]": (None, "multiface")}, 422),
        ({"entry_job[input]": ("a.jpg", PHOTOGRAPH), "entry_job[name]": (None, "pa-pack")}, 422),
        (
            {"entry_job[input]": ("a.jpg", PHOTOGRAPH), "entry_job[name]": (None, "current-pack")},
            422,
        ),
        ({"entry_job[input]": ("a.flac", SPEECH)}, 422),
        ({"entry_job[input]": ("a.mp4", b"")}, 400),
        ({"entry_job[input]": ("a.mp4", b"no video at all" * 99)}, 415),
        ({"entry_job[input]": ("a.mp4", PHOTOGRAPH, "video/mp4")}, 415),
        ({"entry_job[input]": (None, "text")}, 422),
        ({"other": ("a.jpg", PHOTOGRAPH)}, 422),
    ],
)
async def test_bad_jobs_are_refused(
    user: httpx.AsyncClient, index: dict[str, Any], files: dict[str, Any], status: int
) -> None:
    response = await user.post(index["jobs"], files=files)
    check_refusal(response, status)


async def test_a_path_in_a_file_name_is_cut_off(
    user: httpx.AsyncClient, index: dict[str, Any]
) -> None:
    job = await create(user, index, PHOTOGRAPH, "no-op", "../../etc/pass\nwd.jpg")
    done = await finished(user, job)
    [form] = done["input"]["representations"]
    assert "/" not in form["file_name"]
    assert ".." not in form["file_name"]
    assert form["file_name"].endswith(".jpg")
    assert (await user.get(form["media"])).content == PHOTOGRAPH


async def test_what_is_not_there_is_not_found(
    user: httpx.AsyncClient,
    client: httpx.AsyncClient,
    mesh: TemporaryMesh,
    multiface: dict[str, Any],
) -> None:
    other = (await client.post("/v1/jobs", json={"kind": "no_op"})).json()["job_id"]
    entry, form = multiface["result"]["self"], multiface["result"]["representations"][0]
    foreign = multiface["input"]["representations"][0]["self"].rpartition("/")[2]
    for url in (
        f"{mesh.address}/jobs/{new_id('job')}",
        f"{mesh.address}/jobs/{other}",
        f"{mesh.address}/jobs/..%2F..%2Fetc",
        f"{mesh.address}/entries/{other}-input",
        f"{mesh.address}/entries/nonsense",
        f"{mesh.address}/entries/{new_id('job')}-result",
        entry.replace("-result", "-output"),
        f"{entry}/annotations/{new_id('ann')}",
        f"{entry}/representations/{new_id('med')}",
        f"{entry}/representations/{foreign}/media",
        form["media"].replace("/media", "/nothing"),
    ):
        response = await user.get(url)
        assert response.status_code == 404, url
    check_refusal(await user.get(f"{mesh.address}/jobs/{other}"), 404)


async def test_other_methods_are_refused(
    user: httpx.AsyncClient, index: dict[str, Any], multiface: dict[str, Any]
) -> None:
    response = await user.delete(multiface["self"])
    check_refusal(response, 405)
    assert response.headers["allow"] == "GET"
    assert (await user.put(index["jobs"])).headers["allow"] == "GET, POST"


async def test_a_refused_job_leaves_no_media(mesh: TemporaryMesh) -> None:
    files: dict[str, Any] = {
        "entry_job[input]": ("a.jpg", PHOTOGRAPH),
        "entry_job[name]": (None, "nonsense"),
    }
    organization = await tenant(mesh)
    async with await organization.client() as client:
        check_refusal(await client.post("/jobs", files=files), 422)
    kept = (mesh.data_dir / "media" / str(organization.org_id)).rglob("*")
    assert not [path for path in kept if path.is_file()]


@pytest.mark.slow
async def test_every_frame_of_a_long_video_is_there(
    user: httpx.AsyncClient, index: dict[str, Any]
) -> None:
    frames = 5200
    video = grey_video(frames)
    job = await create(user, index, video, "current-pack")
    done = await finished(user, job)
    assert done["status"] == "done", done
    metrics = (await media(user, done, METRICS)).json()["metrics"]
    assert metrics["smile"] == ["TF"] * frames
    assert metrics["time stamp (msec)"][-1] == pytest.approx(1000 * (frames - 1) / 25, abs=1)
