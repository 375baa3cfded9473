"""Calls of several threads as one call: equal results, own errors, nobody left waiting."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from components.image.generation.collecting import Collector


def together(collector, calls, run, key=lambda call: 0):
    """Results (or errors) of calls that are made at one time, each by a member in a thread of its own."""
    ready = threading.Barrier(len(calls))

    def one(call):
        with collector.member():
            ready.wait()
            try:
                return collector(key(call), call, run)
            except ValueError as error:
                return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def doubled(seen):
    def run(calls):
        seen.append(list(calls))
        return [2 * call for call in calls]

    return run


def test_calls_of_one_time_are_one_batch_and_each_gets_its_own_result():
    seen = []
    collector = Collector(threading.Lock(), most=4, wait=30)
    assert together(collector, [1, 2, 3, 4], doubled(seen)) == [2, 4, 6, 8]
    assert [sorted(batch) for batch in seen] == [[1, 2, 3, 4]]
    assert (collector.calls, collector.batches) == (4, 1)


def test_other_keys_are_other_batches_and_none_is_too_large():
    seen = []
    collector = Collector(threading.Lock(), most=2, wait=0.05)
    results = together(collector, list(range(10)), doubled(seen), key=lambda call: call % 2)
    assert results == [2 * call for call in range(10)]
    assert all(len(batch) <= 2 and len({call % 2 for call in batch}) == 1 for batch in seen)
    assert sorted(call for batch in seen for call in batch) == list(range(10))


def test_an_error_goes_to_its_own_caller():
    def run(calls):
        if 3 in calls:
            raise ValueError("three")
        return list(calls)

    collector = Collector(threading.Lock(), most=4, wait=30)
    *rest, third = (together(collector, [1, 2, 4, 3], run))[:4]
    assert rest == [1, 2, 4] and isinstance(third, ValueError)


def test_who_works_alone_waits_for_nobody_and_who_leaves_is_not_waited_for():
    collector = Collector(threading.Lock(), most=8, wait=10**6)
    with collector.member():
        assert collector(0, 1, doubled([])) == 2
    left, started = threading.Event(), threading.Event()

    def leaves():
        with collector.member():
            started.set()
            left.wait()

    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(leaves)
        started.wait()

        def stays():
            with collector.member():
                return collector(0, 1, doubled([]))

        asked = pool.submit(stays)
        left.set()
        assert asked.result(60) == 2
        other.result(60)


def test_calls_gather_while_a_batch_runs():
    """Without any wait: the first holds the device until the others have come."""
    seen, first = [], threading.Event()
    collector = Collector(threading.Lock(), most=8, wait=0)
    hold = threading.Event()

    def run(calls):
        seen.append(sorted(calls))
        if not first.is_set():
            first.set()
            hold.wait()
        return list(calls)

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(collector, 0, 0, run)]
        first.wait()
        asked += [pool.submit(collector, 0, call, run) for call in (1, 2, 3)]
        while len(collector._groups.get(0, ())) < 3:
            pass
        hold.set()
        assert [each.result(60) for each in asked] == [0, 1, 2, 3]
    assert seen == [[0], [1, 2, 3]]


def test_an_interrupt_leaves_nobody_waiting():
    started = threading.Barrier(2)

    def run(calls):
        raise KeyboardInterrupt

    collector = Collector(threading.Lock(), most=2, wait=30)

    def one(call):
        with collector.member():
            started.wait()
            collector(0, call, run)

    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(one, call) for call in (1, 2)]:
            with pytest.raises(KeyboardInterrupt):
                each.result(60)
