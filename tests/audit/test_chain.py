"""The chain: it goes on after a kill at any point, and whatever is done to it later is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelbroker.audit import store
from modelbroker.audit.chain import Verifier, first_of, read, segment_name, signature
from modelbroker.audit.events import CALL, Event
from modelbroker.audit.keys import Signer, is_signed, own_key, read_key, read_public_key, signer_of
from modelbroker.audit.store import Chain, ChainReader, segments
from modelbroker.cli.audit_commands import verified

SIGNER = signer_of(b"k" * 32)
OTHER = signer_of(b"o" * 32)
NOW_S = 1_795_998_258.0
DAY_S = 86_400


class Clock:
    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


def call(number: int) -> Event:
    return Event(
        kind=CALL, id=f"{number:032x}", at_ms=number, severity=1, agent=f"agent-{number % 3}", cost_nano=7
    )


def sources(numbers: range) -> list[tuple[Event, tuple[str, str, int]]]:
    return [(call(number), ("calls", "1:f", (number + 1) * 10)) for number in numbers]


def chain_in(folder: Path, signer: Signer = SIGNER, **more: Any) -> Chain:
    return Chain(folder, signer, more.pop("clock", Clock()), **more)


def made(folder: Path, count: int, *, segment_bytes: int = 2_000, every: int = 5, batch: int = 3) -> bytes:
    """A chain of several segments, signed to its end; its last checkpoint's line."""
    chain = chain_in(folder, segment_bytes=segment_bytes, every=every)
    for start in range(0, count, batch):
        chain.append(sources(range(start, min(start + batch, count))))
    chain.checkpoint()
    chain.close()
    return chain.checkpoint_line


def verify(folder: Path, **more: Any) -> Verifier:
    verifier = Verifier(is_signed, **more)
    verified(folder, verifier)
    return verifier


def ids(folder: Path) -> list[str]:
    """Of the calls in it, in their order."""
    lines = [read(raw) for _, path in segments(folder) for raw in path.read_bytes().splitlines()]
    return [line.event.id for line in lines if line.event.kind == CALL]


def expected(count: int) -> list[str]:
    return [call(number).id for number in range(count)]


def test_what_was_appended_is_there_and_verifies(tmp_path: Path) -> None:
    last = made(tmp_path, 40)
    assert ids(tmp_path) == expected(40)
    assert len(segments(tmp_path)) > 3
    found = verify(tmp_path, keys=[SIGNER.public], known={read(last).seq: last})
    assert (found.wrong, found.unsigned, found.seen_keys) == ([], 0, {SIGNER.public: 1})
    assert found.head[0] == found.events == found.signed_to
    assert all(first_of(path.name) == first for first, path in segments(tmp_path))
    assert all(path.stat().st_mode & 0o077 == 0 for _, path in segments(tmp_path))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, made(folder, 30)


Tamper = Callable[[st.DataObject, list[Path]], None]


def a_line(data: st.DataObject, files: list[Path]) -> tuple[Path, list[bytes], int]:
    path = data.draw(st.sampled_from(files), "file")
    lines = path.read_bytes().splitlines(keepends=True)
    return path, lines, data.draw(st.integers(0, len(lines) - 1), "line")


def change_a_byte(data: st.DataObject, files: list[Path]) -> None:
    path = data.draw(st.sampled_from(files), "file")
    text = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(text) - 1), "at")
    text[at] ^= data.draw(st.integers(1, 255), "bits")
    path.write_bytes(text)


def drop_a_line(data: st.DataObject, files: list[Path]) -> None:
    path, lines, at = a_line(data, files)
    del lines[at]
    path.write_bytes(b"".join(lines))


def double_a_line(data: st.DataObject, files: list[Path]) -> None:
    path, lines, at = a_line(data, files)
    lines.insert(data.draw(st.integers(0, len(lines)), "to"), lines[at])
    path.write_bytes(b"".join(lines))


def swap_lines(data: st.DataObject, files: list[Path]) -> None:
    path, lines, at = a_line(data, files)
    other = data.draw(st.integers(0, len(lines) - 1).filter(lambda to: to != at or len(lines) == 1), "to")
    lines[at], lines[other] = lines[other], lines[at]
    path.write_bytes(b"".join(lines))
    if other == at:
        path.write_bytes(b"")


def drop_a_file(data: st.DataObject, files: list[Path]) -> None:
    data.draw(st.sampled_from(files), "file").unlink()


def cut_the_end(data: st.DataObject, files: list[Path]) -> None:
    size = files[-1].stat().st_size
    with files[-1].open("r+b") as file:
        file.truncate(data.draw(st.integers(0, size - 1), "size"))


def put_in(data: st.DataObject, files: list[Path]) -> None:
    path, lines, at = a_line(data, files)
    lines.insert(at, data.draw(st.sampled_from([b"\n", b"{}\n", b'{"seq":3,"prev":""}\n']), "line"))
    path.write_bytes(b"".join(lines))


def rename(data: st.DataObject, files: list[Path]) -> None:
    path = data.draw(st.sampled_from(files), "file")
    by = data.draw(st.sampled_from([-1, 1]), "by")
    path.rename(path.with_name(segment_name(max(0, (first_of(path.name) or 0) + by))))


TAMPERS = (
    change_a_byte,
    drop_a_line,
    double_a_line,
    swap_lines,
    drop_a_file,
    cut_the_end,
    put_in,
    rename,
)


@pytest.mark.parametrize("tamper", TAMPERS, ids=lambda one: one.__name__)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_done_to_it_is_found(
    whole: tuple[Path, bytes], tmp_path: Path, tamper: Tamper, data: st.DataObject
) -> None:
    folder = tmp_path / "changed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole[0], folder)
    tamper(data, [path for _, path in segments(folder)])
    last = whole[1]
    assert verify(folder, keys=[SIGNER.public], known={read(last).seq: last}).found


def test_what_is_wrong_is_named_by_file_line_and_event(tmp_path: Path) -> None:
    made(tmp_path, 30)
    files = [path for _, path in segments(tmp_path)]
    lines = files[1].read_bytes().splitlines(keepends=True)
    first = read(lines[2][:-1]).seq
    files[1].write_bytes(b"".join([*lines[:2], lines[2].replace(b'"agent-', b'"agent_'), *lines[3:]]))
    (wrong,) = verify(tmp_path).wrong
    assert str(wrong).startswith(
        f"{files[1].name}:3: event {first} is not the one that event {first + 1} was"
    )
    files[1].write_bytes(b"".join([*lines[:2], *lines[3:]]))
    (wrong,) = verify(tmp_path).wrong
    assert str(wrong) == f"{files[1].name}:3: event {first} is missing before event {first + 1}"
    files[1].write_bytes(b"".join([*lines[:3], *lines[2:]]))
    (wrong,) = verify(tmp_path).wrong
    assert str(wrong) == f"{files[1].name}:4: event {first} stands twice"
    files[1].unlink()
    (wrong,) = verify(tmp_path).wrong
    assert "are missing before event" in str(wrong) and files[2].name in str(wrong)


def test_a_chain_that_is_made_again_is_signed_by_another_key(tmp_path: Path) -> None:
    forged = chain_in(tmp_path, OTHER)
    forged.append(sources(range(5)))
    forged.close()
    assert not verify(tmp_path).found
    assert "is not the one that was given" in str(verify(tmp_path, keys=[SIGNER.public]).wrong[0])


def test_segments_of_another_chain_do_not_fit(tmp_path: Path) -> None:
    for name in ("one", "two"):
        made(tmp_path / name, 30)
    (first, path), *_ = segments(tmp_path / "one")[1:]
    shutil.copy(path, tmp_path / "two" / segment_name(first))
    assert any("of another chain" in str(wrong) for wrong in verify(tmp_path / "two").wrong)


def test_the_signature_is_over_the_lines_own_bytes(tmp_path: Path) -> None:
    line = made(tmp_path, 3)
    body, signed = signature(line) or (b"", b"")
    assert body.startswith(b'{"seq":') and body.endswith(b"}") and is_signed(SIGNER.public, signed, body)
    assert signature(line.replace(b'"sig":"', b'"sig":"F')) is None
    upper = line[:-2].rpartition(b'"')
    assert signature(upper[0] + b'"' + upper[2].upper() + b'"}') is None  # the same bytes, spelled otherwise
    assert signature(b'{"seq":1}') is None


# -- kills


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 30_000), more=st.integers(1, 12))
def test_it_goes_on_after_a_kill_at_any_point(
    whole: tuple[Path, bytes], tmp_path: Path, at: int, more: int
) -> None:
    """What a kill leaves is a beginning of what would have been written."""
    folder = tmp_path / "killed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole[0], folder)
    left = at % (sum(path.stat().st_size for _, path in segments(folder)) + 1)
    for _, path in segments(folder):
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.truncate(min(left, size))
        if not left:
            path.unlink()
        left = max(left - size, 0)
    chain = chain_in(folder, segment_bytes=2_000, every=5)
    done = len(ids(folder))
    assert chain.positions.get("calls", ("1:f", 0)) == ("1:f", done * 10)
    chain.append(sources(range(done, done + more)))
    chain.checkpoint()
    chain.close()
    assert ids(folder) == expected(done + more)
    assert verify(folder, keys=[SIGNER.public]).wrong == []


def test_a_disk_without_room_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = chain_in(tmp_path)
    chain.append(sources(range(3)))
    size = segments(tmp_path)[-1][1].stat().st_size

    class Full(store.FileIO):
        def write(self, data: Any) -> int:
            super().write(data[:100])
            raise OSError(28, "No space left on device")

    assert chain._file is not None
    chain._file.close()
    chain._file = Full(segments(tmp_path)[-1][1], "ab+")
    with pytest.raises(OSError, match="No space"):
        chain.append(sources(range(3, 6)))
    chain.close()
    assert segments(tmp_path)[-1][1].stat().st_size == size
    again = chain_in(tmp_path)
    assert again.positions["calls"] == ("1:f", 30)
    again.append(sources(range(3, 6)))
    again.close()
    assert ids(tmp_path) == expected(6)
    assert not verify(tmp_path).found


def test_a_start_after_tampering_goes_on_and_does_not_hide_it(tmp_path: Path) -> None:
    made(tmp_path, 10, segment_bytes=100_000)
    ((_, path),) = segments(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"agent":"agent-1"', b'"agent":agent-1"', 1))
    chain = chain_in(tmp_path)
    chain.append(sources(range(10, 12)))
    chain.checkpoint()
    chain.close()
    assert "is no line of a chain" in str(verify(tmp_path).wrong[0])


# -- checkpoints


def test_checkpoints_come_by_number_and_by_time(tmp_path: Path) -> None:
    clock = Clock()
    chain = chain_in(tmp_path, clock=clock, every=100, every_s=10.0)
    chain.append(sources(range(250)))
    assert verify(tmp_path).unsigned == 50
    signed = chain.checkpoint_seq
    clock.now_s += 9
    chain.tick()
    assert chain.checkpoint_seq == signed
    clock.now_s += 1
    chain.tick()
    assert chain.checkpoint_seq == chain.seq == signed + 51
    clock.now_s += 60
    chain.tick()  # there is nothing new
    assert chain.seq == chain.checkpoint_seq
    chain.close()


def test_another_key_begins_a_segment_and_is_told(tmp_path: Path) -> None:
    for signer, numbers in ((SIGNER, range(3)), (OTHER, range(3, 6)), (OTHER, range(6, 7))):
        chain = chain_in(tmp_path, signer)
        chain.append(sources(numbers))
        chain.checkpoint()
        chain.close()
    assert len(segments(tmp_path)) == 2
    found = verify(tmp_path, keys=[SIGNER.public, OTHER.public])
    assert not found.found and list(found.seen_keys) == [SIGNER.public, OTHER.public]
    assert verify(tmp_path, keys=[OTHER.public]).found


def test_keys(tmp_path: Path) -> None:
    key = own_key(tmp_path)
    assert own_key(tmp_path) == key
    assert (tmp_path / "audit.key").stat().st_mode & 0o077 == 0
    assert read_key(key.hex()) == read_key((tmp_path / "audit.key").read_text()) == key
    public = signer_of(key).public
    assert read_public_key(f"{public}\n") == public
    for bad in ("", "hunter2-not-a-key", "zz" * 32):
        with pytest.raises(ValueError) as found:
            read_key(bad)
        assert "hunter2" not in str(found.value)
        with pytest.raises(ValueError):
            read_public_key(bad)


# -- retention


def test_what_is_left_after_retention_verifies(tmp_path: Path) -> None:
    clock = Clock()
    chain = chain_in(tmp_path, clock=clock, segment_bytes=2_000, every=5)
    for number in range(40):
        chain.append(sources(range(number, number + 1)))
        clock.now_s += DAY_S
    before = segments(tmp_path)
    assert chain.expire(0, 1 << 40) == 0
    gone = chain.expire(10 * DAY_S, 1 << 40)
    left = segments(tmp_path)
    assert gone == left[0][0] - 1 > 0
    assert chain.expire(10 * DAY_S, 1 << 40) == 0
    assert not verify(tmp_path, keys=[SIGNER.public]).found
    calls = ids(tmp_path)
    assert calls == expected(40)[-len(calls) :] and 10 <= len(calls) < 20
    # Another file goes, and nobody tells of it.
    left[0][1].unlink()
    assert "the chain tells of" in str(verify(tmp_path).wrong[0])
    assert len(before) > len(left) > 1
    chain.close()


def test_a_bound_in_bytes_takes_the_oldest(tmp_path: Path) -> None:
    chain = chain_in(tmp_path, segment_bytes=2_000, every=5)
    chain.append(sources(range(100)))
    chain.expire(0, 8_000)
    assert sum(path.stat().st_size for _, path in segments(tmp_path)) < 10_000
    chain.expire(0, 1)
    assert len(segments(tmp_path)) <= 2  # never the newest
    chain.append(sources(range(100, 102)))
    chain.checkpoint()
    chain.close()
    assert not verify(tmp_path).found
    again = chain_in(tmp_path)
    assert again.positions["calls"] == ("1:f", 1020)
    again.close()


# -- readers


def test_a_reader_follows_over_segments_and_says_what_it_missed(tmp_path: Path) -> None:
    chain = chain_in(tmp_path, segment_bytes=2_000, every=5)
    reader, seen = ChainReader(tmp_path, 0), []
    assert reader.read(10, 1 << 20) == []

    def take() -> None:
        while lines := reader.read(4, 1_000):
            assert len(lines) <= 4
            seen.extend(line.seq for line, _ in lines)
            reader.after = lines[-1][0].seq

    for number in range(0, 30, 3):
        chain.append(sources(range(number, number + 3)))
        take()
    assert seen == list(range(1, chain.seq + 1))
    late = ChainReader(tmp_path, 5)
    assert late.read(1, 1)[0][0].seq == 6
    late.close()
    chain.expire(0, 4_000)
    first = segments(tmp_path)[0][0]
    later = ChainReader(tmp_path, 5)
    assert later.read(1, 1)[0][0].seq == first
    assert later.missed == first - 6
    for one in (reader, later):
        one.close()
    chain.close()
