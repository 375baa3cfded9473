import logging
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import diskcache
import pytest

from components.portraits.vocabulary import VOCABULARY
from components.prompting.cache import Answered, PromptCache, cache_key
from components.prompting.clients import Blocked
from components.prompting.schema import Draft, PromptRequest
from components.prompting.vocabulary import EMPTY
from components.settings import REPOSITORY
from tests.components.prompting.readers import REQUEST, WordReader

ANSWER = Answered(draft=Draft(subject="1girl", extra=("holding a cat", "猫耳")), repaired=True)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[PromptCache]:
    opened = PromptCache(tmp_path / "prompts")
    yield opened
    opened.close()


def fill(cache: PromptCache, key: str = "key") -> bool:
    """Whether the answer was there."""
    answer, cached = cache.get_or_make(key, lambda: ANSWER)
    assert answer == ANSWER
    return cached


def run_python(code: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=REPOSITORY, text=True, stdout=subprocess.PIPE)


def test_an_answer_is_kept_for_other_processes(cache: PromptCache, tmp_path: Path) -> None:
    assert not fill(cache)
    assert fill(cache)
    assert fill(PromptCache(tmp_path / "prompts"))
    assert cache.stats().model_dump(include={"entries", "hits", "misses", "damaged"}) == {
        "entries": 1,
        "hits": 2,
        "misses": 1,
        "damaged": 0,
    }


def test_it_is_kept_as_text(cache: PromptCache) -> None:
    fill(cache)
    with sqlite3.connect(cache.folder / "entries" / "cache.db") as database:
        ((mode, value),) = database.execute("SELECT mode, value FROM Cache").fetchall()
    database.close()
    assert mode == diskcache.core.MODE_RAW
    assert Answered.model_validate_json(value) == ANSWER


def test_clearing(cache: PromptCache) -> None:
    fill(cache, "a")
    fill(cache, "b")
    assert cache.clear() == 2
    assert cache.stats().entries == cache.stats().misses == 0
    assert not fill(cache, "a")


def test_old_answers_expire(tmp_path: Path) -> None:
    cache = PromptCache(tmp_path, max_age=0.2)
    fill(cache)
    time.sleep(0.3)
    assert cache.stats().entries == 0
    assert not fill(cache)
    cache.close()


def test_the_size_is_limited(tmp_path: Path) -> None:
    limit = 150_000
    cache = PromptCache(tmp_path, size_limit=limit)
    big = Answered(draft=Draft(extra=tuple(f"{'x' * 50} {number}" for number in range(20))))
    for number in range(200):
        cache.get_or_make(str(number), lambda: big)
    stats = cache.stats()
    assert 0 < stats.entries < 120
    assert stats.bytes < limit * 1.2
    assert cache.get_or_make("199", lambda: big)[1], "the newest stay"
    cache.close()


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("pnik  hiar girl\twith glasses ", True),
        ("ｐｎｉｋ hiar girl with glasses", True),
        ("pink hiar girl with glasses", False),
    ],
)
def test_the_key_ignores_blanks_and_widths(text: str, same: bool) -> None:
    changed = cache_key(REQUEST.model_copy(update={"text": text}), WordReader(), VOCABULARY)
    assert (changed == cache_key(REQUEST, WordReader(), VOCABULARY)) is same


def test_the_key_knows_client_model_vocabulary_language_and_negative() -> None:
    other_name, other_model = WordReader(), WordReader()
    other_name.name, other_model.model = "other", "2"
    keys = {
        cache_key(REQUEST, WordReader(), VOCABULARY),
        cache_key(REQUEST, other_name, VOCABULARY),
        cache_key(REQUEST, other_model, VOCABULARY),
        cache_key(REQUEST.model_copy(update={"language": "ja"}), WordReader(), VOCABULARY),
        cache_key(REQUEST.model_copy(update={"negative": "hat"}), WordReader(), VOCABULARY),
        cache_key(PromptRequest(text=REQUEST.text), WordReader(), VOCABULARY),
        cache_key(REQUEST, WordReader(), EMPTY),
    }
    assert len(keys) == 7


def test_many_threads_ask_once(cache: PromptCache) -> None:
    made: list[int] = []

    def make() -> Answered:
        made.append(1)
        time.sleep(0.2)
        return ANSWER

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda _: cache.get_or_make("key", make), range(24)))
    assert len(made) == 1
    assert {answer for answer, _ in answers} == {ANSWER}
    assert sum(not cached for _, cached in answers) == 1
    assert (cache.stats().hits, cache.stats().misses) == (23, 1)


TOGETHER = """
import sys, threading, time
from pathlib import Path
from components.prompting.cache import Answered, PromptCache
from components.prompting.schema import Draft

folder, calls = Path(sys.argv[1]), Path(sys.argv[2])

def make():
    with calls.open("a") as log:
        log.write("call\\n")
    time.sleep(0.5)
    return Answered(draft=Draft(subject="1girl"))

cache = PromptCache(folder)
print("ready", flush=True)
while not (calls.parent / "go").exists():
    time.sleep(0.005)
answers = []
threads = [threading.Thread(target=lambda: answers.append(cache.get_or_make("key", make))) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(answers), {answer.draft.subject for answer, _ in answers})
"""


def test_two_processes_with_many_threads_ask_once(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    processes = [run_python(TOGETHER, str(tmp_path / "prompts"), str(calls)) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    for process in processes:
        assert process.communicate(timeout=30)[0] == "8 {'1girl'}\n"
        assert process.returncode == 0
    assert calls.read_text() == "call\n"


DIES = """
import os, signal, sys
from pathlib import Path
from components.prompting.cache import PromptCache

PromptCache(Path(sys.argv[1])).get_or_make("key", lambda: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_a_dead_holder_blocks_nobody(tmp_path: Path) -> None:
    process = run_python(DIES, str(tmp_path))
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    cache = PromptCache(tmp_path, lease=60)
    start = time.monotonic()
    assert not fill(cache)
    assert time.monotonic() - start < 50, "the lease is 60 s"
    cache.close()


def test_a_holder_on_another_machine_blocks_for_one_lease(tmp_path: Path) -> None:
    cache = PromptCache(tmp_path, lease=0.5)
    with diskcache.Cache(str(tmp_path / "book")) as book:
        book.add("lease/key", "elsewhere|1|0", expire=60)
    start = time.monotonic()
    assert not fill(cache)
    assert time.monotonic() - start > 0.4
    cache.close()


def test_an_error_reaches_all_who_wait_and_is_not_kept(cache: PromptCache) -> None:
    made: list[int] = []
    gate = threading.Barrier(6)

    def make() -> Answered:
        made.append(1)
        time.sleep(0.3)
        raise Blocked("A safety filter held the answer back.")

    def ask(_: int) -> str:
        gate.wait()
        with pytest.raises(Blocked) as caught:
            cache.get_or_make("key", make)
        return caught.value.message

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(ask, range(6))) == {"A safety filter held the answer back."}
    assert len(made) == 1
    assert not fill(cache)


def test_who_waits_starts_again_when_the_leader_is_interrupted(cache: PromptCache) -> None:
    begun = threading.Event()

    def interrupted() -> Answered:
        begun.set()
        time.sleep(0.3)
        raise KeyboardInterrupt

    def lead() -> None:
        with pytest.raises(KeyboardInterrupt):
            cache.get_or_make("key", interrupted)

    leader = threading.Thread(target=lead)
    leader.start()
    begun.wait()
    assert not fill(cache)
    leader.join()


def write_entry(cache: PromptCache, value: object) -> None:
    fill(cache)
    with diskcache.Cache(str(cache.folder / "entries")) as entries:
        entries.set("key", value)


@pytest.mark.parametrize("value", ["{broken", '{"draft": {"subject": 3}}', 7, b"\x00\xff", "", "null"])
def test_a_damaged_entry_is_dropped(cache: PromptCache, caplog: pytest.LogCaptureFixture, value: object) -> None:
    write_entry(cache, value)
    assert not fill(cache)
    assert "damaged entry" in caplog.text
    assert fill(cache)
    assert cache.stats().damaged == 1


class Bomb:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch exploded",)


def test_a_pickle_in_the_folder_is_not_read(
    cache: PromptCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert b"touch exploded" in pickle.dumps(Bomb())
    write_entry(cache, Bomb())
    assert not fill(cache)
    assert not (tmp_path / "exploded").exists()
    assert fill(cache)


def damage(database: Path, kind: str) -> None:
    for side in ("-wal", "-shm"):
        database.with_name(database.name + side).unlink(missing_ok=True)
    size = database.stat().st_size
    with database.open("r+b") as file:
        if kind == "not a database":
            file.write(b"x" * 512)
        elif kind == "cut":
            file.truncate(size // 2)
        else:
            file.seek(4096)
            file.write(b"\xff" * (size - 4096))


@pytest.mark.parametrize("part", ["entries", "book"])
@pytest.mark.parametrize("kind", ["not a database", "cut", "overwritten"])
def test_a_damaged_database_starts_anew(
    cache: PromptCache, caplog: pytest.LogCaptureFixture, part: str, kind: str
) -> None:
    for number in range(50):
        fill(cache, str(number))
    cache.close()
    damage(cache.folder / part / "cache.db", kind)
    cached = [fill(cache, str(number)) for number in range(50)]
    assert not all(cached)
    assert "is damaged and starts anew" in caplog.text
    assert fill(cache, "49")
    assert cache.stats().damaged >= 1
    assert [path.name for path in cache.folder.parent.iterdir()] == [cache.folder.name]


def test_a_folder_that_cannot_be_made_only_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("not a folder")
    cache = PromptCache(tmp_path / "file" / "prompts")
    with caplog.at_level(logging.WARNING):
        assert not fill(cache)
        assert not fill(cache)
    assert "does not work" in caplog.text
    assert len(caplog.records) == 1
    assert (cache.stats().entries, cache.clear()) == (0, 0)
