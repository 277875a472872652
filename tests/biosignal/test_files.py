"""Recorded files: the signals of good ones, and a clear refusal of every bad one."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.biosignal.files import edf, wfdb
from services.biosignal.files.names import signal_of
from services.biosignal.files.read import read
from services.common import errors
from tests.biosignal import recorded, synthetic
from tests.biosignal.recorded import Channel

ECG = synthetic.ecg(synthetic.beat_times(30), 30, 256)
EDA = synthetic.conductance(np.array([10.0]), 30, 4)
CHANNELS = (Channel("ECG II", "mV", 256, ECG), Channel("GSR", "uS", 4, EDA))
EDF = recorded.edf(*CHANNELS)

LEAD = recorded.counts(ECG, 200)
HEADER = f"r 2 256 {len(ECG)}\nr.dat 16 200 16 0 0 0 0 MLII\nr.dat 16 100(0)/NU 16 0 0 0 0 PLETH\n"
BOTH = recorded.words(np.stack([LEAD, LEAD], axis=1).ravel())
WFDB = recorded.zipped({"r.hea": HEADER, "r.dat": BOTH})

TIMES = np.arange(len(ECG)) / 256
CSV = recorded.csv("time (s),ecg (mV),eda (uS) @ 4 Hz", TIMES, ECG, EDA)


def test_reads_edf() -> None:
    signals, remarks = read(EDF)
    assert {name: (one.rate_hz, one.unit) for name, one in signals.items()} == {
        "ecg": (256, "mV"),
        "eda": (4, "uS"),
    }
    assert np.abs(signals["ecg"].data - ECG).max() < 20 / 65535
    assert np.abs(signals["eda"].data - EDA).max() < 20 / 65535
    assert not remarks


def test_reads_edf_plus_without_its_annotations() -> None:
    notes = Channel("EDF Annotations", "", 20, np.zeros(30 * 20))
    data = recorded.edf(*CHANNELS, notes, changes={"reserved": "EDF+C"})
    assert [channel.name for channel in edf.read(data)] == ["ECG II", "GSR"]


def test_reads_edf_whose_writer_never_counted_its_records() -> None:
    signals, _ = read(recorded.edf(*CHANNELS, changes={"records": -1}))
    assert len(signals["ecg"].data) == len(ECG)


def test_reads_wfdb_of_format_16() -> None:
    signals, _ = read(WFDB)
    assert set(signals) == {"ecg", "ppg"}
    assert signals["ecg"].rate_hz == 256
    assert np.array_equal(signals["ecg"].data, LEAD / 200)
    assert np.array_equal(signals["ppg"].data, LEAD / 100)


def test_reads_wfdb_of_format_212_in_a_folder() -> None:
    header = f"# a comment\n100 1 256/256(0) {len(LEAD)} 10:00:00\n100.dat 212 200 11 5 0 0 0 V5\n"
    files: dict[str, bytes | str] = {
        "db/100.hea": header,
        "db/100.dat": recorded.pairs(LEAD),
        "__MACOSX/._100.hea": b"\0\1",
        "db/100.atr": b"notes",
    }
    signals, _ = read(recorded.zipped(files))
    assert np.allclose(signals["ecg"].data, (LEAD - 5.0) / 200)


def test_reads_wfdb_of_several_samples_a_frame_and_several_files() -> None:
    header = f"r 2 64 {len(LEAD) // 4}\na.dat 16x4 200 16 0 0 0 0 ECG\nb.dat 16+8 1 16 0 0 0 0 RESP"
    files: dict[str, bytes | str] = {
        "r.hea": header,
        "a.dat": recorded.words(LEAD),
        "b.dat": b"prologue" + recorded.words(LEAD[::4]),
    }
    signals, _ = read(recorded.zipped(files))
    assert signals["ecg"].rate_hz == 256
    assert np.array_equal(signals["ecg"].data, LEAD / 200)
    assert np.array_equal(signals["respiration"].data, LEAD[::4])


def test_a_sample_that_wfdb_marks_as_missing_is_no_number() -> None:
    holes = LEAD.copy()
    holes[7] = -2048
    header = f"r 1 256 {len(LEAD)}\nr.dat 212 200 16 0 0 0 0 ECG\n"
    signals, _ = read(recorded.zipped({"r.hea": header, "r.dat": recorded.pairs(holes)}))
    assert np.flatnonzero(np.isnan(signals["ecg"].data)).tolist() == [7]


def test_reads_csv() -> None:
    signals, _ = read(CSV)
    assert signals["ecg"].rate_hz == pytest.approx(256)
    assert signals["eda"].rate_hz == 4
    assert np.allclose(signals["ecg"].data, ECG, atol=1e-5)
    assert np.allclose(signals["eda"].data, EDA, atol=1e-5)


@pytest.mark.parametrize(
    ("header", "scale"), [("time", 1.0), ("Timestamp [ms]", 1000.0), ("t (s)", 1.0)]
)
def test_times_of_a_csv_give_its_rate(header: str, scale: float) -> None:
    times = np.round(TIMES * scale, 3 if scale == 1 else 0)
    signals, _ = read(recorded.csv(f"{header},ECG [mV]", times, ECG))
    assert signals["ecg"].rate_hz == pytest.approx(256, rel=1e-3)


def test_a_csv_may_begin_with_a_byte_order_mark_and_end_lines_as_it_likes() -> None:
    data = b"\xef\xbb\xbf" + CSV.replace(b"\n", b"\r\n") + b"\r\n\r\n"
    assert np.allclose(read(data)[0]["ecg"].data, ECG, atol=1e-5)


def test_intervals_between_beats_need_no_rate() -> None:
    signals, _ = read(recorded.csv("rr (ms)", np.full(40, 800.0)))
    assert signals["rr"].data.sum() == 32_000


def test_channels_left_out_are_named() -> None:
    chest, other = Channel("V5", "mV", 256, ECG / 2), Channel("EEG Fpz-Cz", "uV", 256, ECG)
    signals, remarks = read(recorded.edf(chest, other, *CHANNELS))
    assert np.abs(signals["ecg"].data - ECG).max() < 20 / 65535
    assert [remark.code for remark in remarks] == ["CHANNELS_LEFT_OUT"]
    assert "left out: V5, EEG Fpz-Cz" in remarks[0].message


@pytest.mark.parametrize(
    ("name", "signal"),
    [
        *((name, "ecg") for name in ("ECG", "EKG", "MLII", "II", "V5", "ECG V1-V2", "EKG2", "aVF")),
        *((name, "eda") for name in ("EDA", "GSR", "Skin Conductance", "wrist_EDA")),
        *((name, "ppg") for name in ("BVP", "PPG", "PLETH", "wrist BVP")),
        *((name, "respiration") for name in ("RESP", "Resp chest", "Respiration", "Thorax")),
        *((name, "temperature") for name in ("TEMP", "Temp skin", "Skin-Temperature")),
        *((name, "rr") for name in ("RR", "IBI")),
        *((name, None) for name in ("EEG", "EMG", "Temp rectal", "SpO2", "", "--")),
    ],
)
def test_channels_are_known_by_their_names(name: str, signal: str | None) -> None:
    assert signal_of(name) == signal


def wfdb_of(header: str, name: str = "r.dat") -> bytes:
    return recorded.zipped({"r.hea": header, name: BOTH})


def csv_with(old: bytes, new: bytes) -> bytes:
    assert old in CSV
    return CSV.replace(old, new, 1)


def uneven() -> bytes:
    return recorded.csv("time (s),ecg (mV)", TIMES + (TIMES > 10) * 0.5, ECG)


def late_skin() -> bytes:
    lines = recorded.csv("ecg (mV) @ 256 Hz,eda (uS) @ 4 Hz", ECG, EDA).split(b"\n")
    lines[2] = lines[2].split(b",")[0] + b","
    return b"\n".join(lines)


LINE = "r.dat 16 200 16 0 0 0 0 II"
DAMAGED: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "EDF of nothing but its version": (lambda: EDF[:8], "edf", "Truncated file"),
    "EDF cut in its header": (lambda: EDF[:300], "edf", "Truncated file"),
    "EDF cut in its samples": (lambda: EDF[:-1000], "edf", "Truncated file"),
    "EDF with more than its header says": (lambda: EDF + b"12", "edf", "Damaged file"),
    "EDF of 10^8 records": (
        lambda: recorded.edf(*CHANNELS, changes={"records": 99_999_999}),
        "edf",
        "Truncated file",
    ),
    "EDF of 10^8 samples a record": (
        lambda: recorded.edf(*CHANNELS, changes={"samples": [99_999_999, 1]}),
        "edf",
        "Truncated file",
    ),
    "EDF of 0 samples a record": (
        lambda: recorded.edf(*CHANNELS, changes={"samples": [0, 4]}),
        "edf",
        "Damaged file",
    ),
    "EDF of negative records": (
        lambda: recorded.edf(*CHANNELS, changes={"records": -7}),
        "edf",
        "Damaged file",
    ),
    "EDF of records of 0 s": (
        lambda: recorded.edf(*CHANNELS, changes={"record length": 0}),
        "edf",
        "Damaged file",
    ),
    "EDF without a range": (
        lambda: recorded.edf(*CHANNELS, changes={"digital maximum": -32768}),
        "edf",
        "Damaged file",
    ),
    "EDF of 9999 signals": (
        lambda: recorded.edf(*CHANNELS, changes={"signals": 9999}),
        "edf",
        "Damaged file",
    ),
    "EDF with words for numbers": (
        lambda: recorded.edf(*CHANNELS, changes={"records": "many"}),
        "edf",
        "Damaged file",
    ),
    "EDF with infinite numbers": (
        lambda: recorded.edf(*CHANNELS, changes={"record length": "inf"}),
        "edf",
        "Damaged file",
    ),
    "EDF that lies about its header": (
        lambda: recorded.edf(*CHANNELS, changes={"header bytes": 99}),
        "edf",
        "Damaged file",
    ),
    "a CSV called EDF": (lambda: CSV, "edf", "Not EDF"),
    "an EDF of brain waves": (
        lambda: recorded.edf(Channel("EEG Fpz-Cz", "uV", 256, ECG)),
        "edf",
        "No known channel",
    ),
    "an EDF called WFDB": (lambda: EDF, "wfdb", "Not a zip"),
    "a zip cut short": (lambda: WFDB[:-30], "", "Damaged file"),
    "a zip with broken bytes": (
        lambda: WFDB.replace(WFDB[200:240], bytes(40)),
        "",
        "Damaged file",
    ),
    "a zip of nothing": (lambda: recorded.zipped({"a.txt": "hello"}), "", "Not one record"),
    "a zip of two records": (
        lambda: recorded.zipped({"a.hea": HEADER, "b.hea": HEADER, "r.dat": BOTH}),
        "",
        "Not one record",
    ),
    "a zip of 1000 files": (
        lambda: recorded.zipped({f"{n}.txt": "" for n in range(1000)}),
        "",
        "Not one record",
    ),
    "a path up": (lambda: wfdb_of(HEADER, "../r.dat"), "", "Path out of the zip"),
    "an absolute path": (lambda: wfdb_of(HEADER, "/etc/r.dat"), "", "Path out of the zip"),
    "a path of another system": (lambda: wfdb_of(HEADER, "..\\r.dat"), "", "Path out of the zip"),
    "a header that names a file outside": (
        lambda: wfdb_of("r 1 256\n/etc/passwd 16 200 16 0 0 0 0 II\n"),
        "",
        "File missing",
    ),
    "a header that names a file above": (
        lambda: wfdb_of("r 1 256\n../r.dat 16 200 16 0 0 0 0 II\n"),
        "",
        "File missing",
    ),
    "a header of 10^9 samples": (
        lambda: wfdb_of(f"r 1 256 1000000000\n{LINE}\n"),
        "",
        "Truncated file",
    ),
    "a header of fewer samples": (lambda: wfdb_of(f"r 1 256 100\n{LINE}\n"), "", "Damaged file"),
    "a header of more signals": (lambda: wfdb_of(f"r 3 256\n{LINE}\n"), "", "Damaged file"),
    "a header of no signals": (lambda: wfdb_of("r 0 256\n"), "", "Damaged file"),
    "an empty header": (lambda: wfdb_of("# nothing\n"), "", "Damaged file"),
    "a header without a format": (lambda: wfdb_of("r 1 256\nr.dat\n"), "", "Damaged file"),
    "a header with a word as gain": (
        lambda: wfdb_of("r 1 256\nr.dat 16 much\n"),
        "",
        "Damaged file",
    ),
    "a header with a word as rate": (lambda: wfdb_of(f"r 1 fast\n{LINE}\n"), "", "Damaged file"),
    "a header with a rate of 0": (lambda: wfdb_of(f"r 1 0\n{LINE}\n"), "", "Damaged file"),
    "a CSV of semicolons": (lambda: CSV.replace(b",", b";"), "", "Wrong delimiter of CSV"),
    "a CSV of tabs": (lambda: CSV.replace(b",", b"\t"), "", "Wrong delimiter of CSV"),
    "a CSV without a header": (lambda: CSV.split(b"\n", 1)[1], "", "No CSV header"),
    "an empty file": (lambda: b"", "csv", "No CSV header"),
    "a name of 100,000 spaces": (lambda: b"e" + b" " * 100_000 + b"(\n1\n", "", "No CSV header"),
    "a cell of 10^6 characters": (lambda: b"ecg\n" + b"1" * 1_000_000, "", "Damaged file"),
    "a CSV with a short row": (lambda: CSV[:-20] + b"\n1.5\n", "", "Ragged rows"),
    "a CSV with a long row": (lambda: CSV + b"1,2,3,4\n", "", "Ragged rows"),
    "a CSV with NaN": (
        lambda: recorded.csv("ecg (mV) @ 256 Hz", np.where(TIMES == 1, np.nan, ECG)),
        "",
        "NaN or text among the samples",
    ),
    "a CSV with text": (
        lambda: csv_with(b"\n0.0078125,", b"\nsoon,"),
        "",
        "NaN or text among the samples",
    ),
    "a CSV with a hole": (late_skin, "", "Gap in a column"),
    "a CSV with a gap in time": (uneven, "", "Uneven times"),
    "a CSV whose time stands still": (
        lambda: recorded.csv("time,ecg (mV)", np.zeros(50), ECG[:50]),
        "",
        "Uneven times",
    ),
    "a CSV without a rate": (lambda: recorded.csv("ecg (mV)", ECG), "", "No rate"),
    "a CSV with an unclosed quote": (lambda: CSV + b'"1,2,3\n', "", "Damaged file"),
    "a CSV of other things": (
        lambda: recorded.csv("time,eeg (uV)", TIMES, ECG),
        "",
        "No known channel",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_refuses_a_damaged_file(case: str) -> None:
    make, kind, reason = DAMAGED[case]
    with pytest.raises(errors.InvalidSignal) as caught:
        read(make(), kind)
    assert caught.value.details["reason"] == reason
    assert caught.value.details["suggestion"]
    assert caught.value.details["field"] == "recording"


UNSUPPORTED: dict[str, tuple[bytes, str]] = {
    "EDF with gaps": (recorded.edf(*CHANNELS, changes={"reserved": "EDF+D"}), "EDF+D"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(100), "CSV in UTF-8"),
    "UTF-16": (CSV.decode().encode("utf-16"), "CSV in UTF-8"),
    "Latin-1": (b"\xb5S,ecg\n1,2\n", "CSV in UTF-8"),
    "WFDB format 8": (wfdb_of("r 1 256\nr.dat 8 200\n"), "format 8"),
    "WFDB with skew": (wfdb_of("r 1 256\nr.dat 16:5 200\n"), "format 16:5"),
    "WFDB of segments": (wfdb_of("r/2 1 256\na 100\nb 100\n"), "segments"),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_names_what_is_not_read_here(case: str) -> None:
    data, words = UNSUPPORTED[case]
    with pytest.raises(errors.UnsupportedMedia, match=words.replace("+", r"\+")):
        read(data)


def test_refuses_a_format_it_does_not_know() -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        read(EDF, "matlab")
    assert caught.value.details["field"] == "recording_format"


def test_a_zip_that_unpacks_to_too_much_is_not_unpacked() -> None:
    bomb = recorded.zipped({"r.hea": HEADER, "r.dat": bytes(200 * 1024 * 1024)})
    assert len(bomb) < 1024 * 1024
    with pytest.raises(errors.PayloadTooLarge):
        wfdb.read(bomb)


def test_a_header_that_unpacks_to_too_much_is_not_unpacked() -> None:
    with pytest.raises(errors.PayloadTooLarge):
        wfdb.read(recorded.zipped({"r.hea": HEADER + "#" * 100_000, "r.dat": BOTH}))


@pytest.mark.parametrize("size", [10, 4_000_000_000])
def test_a_zip_that_lies_about_a_size_is_refused(size: int) -> None:
    lying = recorded.with_declared_size(recorded.zipped({"r.hea": HEADER, "r.dat": BOTH}), size)
    with pytest.raises(errors.InvalidSignal):
        wfdb.read(lying)


def test_refuses_more_samples_than_memory_is_for() -> None:
    header = "r 1 256 12000001\nr.dat 16 200 16 0 0 0 0 II\n"
    data = recorded.zipped({"r.hea": header, "r.dat": bytes(24_000_002)})
    with pytest.raises(errors.PayloadTooLarge):
        read(data)


@given(st.integers(0, 255), st.data())
def test_no_change_of_a_byte_does_harm(value: int, draw: st.DataObject) -> None:
    data = bytearray(draw.draw(st.sampled_from([EDF, WFDB, CSV])))
    data[draw.draw(st.integers(0, min(len(data), 1200) - 1))] = value
    try:
        signals, _ = read(bytes(data))
    except errors.AffectMeshError:
        return
    assert signals


@given(st.binary(max_size=400), st.sampled_from(["edf", "wfdb", "csv", ""]))
def test_no_noise_does_harm(noise: bytes, kind: str) -> None:
    for start in (b"", edf.MAGIC, wfdb.MAGIC, EDF[:256], CSV[:40]):
        with pytest.raises(errors.AffectMeshError):
            read(start + noise, kind)
