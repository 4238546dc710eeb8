import sqlite3
import threading

import pytest

from orchestrion.errors import UserError
from orchestrion.web.jobs import MOST_ATTEMPTS, Jobs


@pytest.fixture
def jobs(tmp_path):
    made = Jobs(tmp_path / "jobs.sqlite")
    yield made
    made.close()


def test_jobs_are_taken_in_their_order(jobs):
    names = [jobs.add("map", {"number": number}).id for number in range(3)]
    assert [jobs.take()[1]["number"] for _ in range(3)] == [0, 1, 2] and jobs.take() is None
    assert {jobs.get(name).state for name in names} == {"running"}


def test_a_second_process_sees_the_same(jobs, tmp_path):
    job = jobs.add("compose", {}, song="a", takes=("b", "c"))
    other = Jobs(tmp_path / "jobs.sqlite")
    taken, _ = other.take()
    assert taken.id == job.id and taken.takes == ("b", "c")
    assert other.progress(job.id, "compose", 1, 5, 10)
    assert (jobs.get(job.id).done, jobs.get(job.id).total) == (5, 10)
    jobs.cancel(job.id)
    assert not other.progress(job.id, "compose", 1, 6, 10)
    other.close()


def test_changes_are_told_once(jobs):
    job = jobs.add("map", {})
    changed, latest = jobs.changed_since(0)
    assert [one.id for one in changed] == [job.id] and jobs.changed_since(latest) == ([], latest)
    jobs.make_known("model", {"state": "ready"})
    changed, later = jobs.changed_since(latest)
    assert changed == [] and later > latest and jobs.fact("model") == {"state": "ready"} and jobs.fact("x") is None


def test_what_ran_when_all_was_killed_waits_again_but_not_for_ever(jobs):
    job = jobs.add("map", {})
    for attempt in range(MOST_ATTEMPTS):
        taken, _ = jobs.take()
        assert taken.attempts == attempt + 1
        jobs.queue_again()
    left = jobs.get(job.id)
    assert left.state == "failed" and str(MOST_ATTEMPTS) in left.problem and left.hint
    assert jobs.resume(job.id).state == "queued" and jobs.take()[0].attempts == 1


def test_a_worker_that_is_stopped_has_not_died(jobs):
    job = jobs.add("map", {})
    for _ in range(MOST_ATTEMPTS + 2):
        assert jobs.take()[0].attempts == 1
        jobs.put_back()
        jobs.queue_again()
    assert jobs.get(job.id).state == "queued"


@pytest.mark.parametrize("ended", ["put_back", "queue_again"])
def test_what_was_cancelled_stays_so_though_its_worker_ended_before_it_noticed(jobs, ended):
    left, other = jobs.add("map", {}), jobs.add("map", {})
    jobs.take(), jobs.take()
    jobs.cancel(left.id)
    getattr(jobs, ended)()
    assert [jobs.get(job.id).state for job in (left, other)] == ["cancelled", "queued"]


def test_sound_that_was_sent_goes_before_what_takes_long(jobs):
    jobs.add("map", {})
    upload = jobs.add("upload", {})
    assert jobs.take()[0].id == upload.id


def test_what_is_over_is_neither_cancelled_nor_resumed(jobs):
    job = jobs.add("map", {})
    jobs.take()
    jobs.end(job.id, "done")
    for act in (jobs.cancel, jobs.resume):
        with pytest.raises(UserError, match="done"):
            act(job.id)
    with pytest.raises(KeyError):
        jobs.get("none")


def test_old_jobs_are_forgotten_and_waiting_ones_are_not(jobs, monkeypatch):
    monkeypatch.setattr("orchestrion.web.jobs._KEPT", 3)
    waiting = jobs.add("map", {})
    for _ in range(6):
        jobs.end(jobs.add("map", {}).id, "done")
    assert len(jobs.latest()) <= 5 and waiting.id in {job.id for job in jobs.latest()}


def test_closing_waits_for_threads_that_are_at_it(tmp_path):
    """Closed under a thread that reads it, SQLite ends the whole process."""
    for number in range(20):
        jobs = Jobs(tmp_path / f"{number}.sqlite")
        jobs.add("map", {})
        reading = threading.Barrier(3)

        def read(jobs=jobs, reading=reading) -> None:
            reading.wait()
            with pytest.raises(sqlite3.ProgrammingError):
                while True:
                    jobs.changed_since(0)

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        reading.wait()
        jobs.close()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("damage", [b"not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4000])
def test_a_damaged_table_is_made_again(tmp_path, damage):
    (tmp_path / "jobs.sqlite").write_bytes(damage)
    jobs = Jobs(tmp_path / "jobs.sqlite")
    assert jobs.latest() == [] and jobs.add("map", {}).state == "queued"
    jobs.close()
