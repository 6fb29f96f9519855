"""The checker's bug bank: a good history has no anomaly, and each wrong that is put into it is found under its name.

    python -m unittest checker_test     (in this folder)
"""

import json
import unittest

from checker import COMMITTED, UNCOMMITTED, check
from replicas import divergence


def send(value, partition, offset, txn=None, process="a", type="ok", n=None, at=1.0):
    return {"op": "send", "process": process, "session": 1, "n": offset if n is None else n, "partition": partition, "value": value,
            "type": type, "offset": offset, "txn": txn, "begin": at, "end": at + 0.1}


def txn(id, type="ok", at=1.0, polled=(), copies=(), group=None, offsets=None):
    return {"op": "txn", "id": id, "process": id, "type": type, "begin": at, "commit_begin": at + 0.5, "end": at + 0.6,
            "polled": list(polled), "copies": list(copies), "group": group, "offsets": offsets or {}}


def poll(process, records, isolation=COMMITTED, group=None, at=5.0):
    return {"op": "poll", "process": process, "isolation": isolation, "group": group, "begin": at, "end": at + 0.1, "records": records}


def committed(at, offsets, group="g"):
    return {"op": "committed", "group": group, "begin": at, "end": at + 0.1, "offsets": offsets}


def commit(at, offsets, type="ok", group="g"):
    return {"op": "commit", "process": "g1", "group": group, "type": type, "begin": at, "end": at + 0.1, "offsets": offsets}


def read(isolation, partition, records):
    return {"op": "read", "isolation": isolation, "partition": partition, "records": records}


P = [[0, "a.0"], [1, "a.1"], [3, "t1.p"], [7, "a.7"]]
Q = [[0, "t1.q"], [2, "t3.q"]]
L = [[0, "c1.0"], [2, "c2.0"]]

GOOD = [
    {"op": "setup", "topics": {"p": 1, "q": 1, "loop": 1}, "groups": ["g"], "copiers": {"copier": ["q", "loop"]}},
    send("a.0", "p-0", 0), send("a.1", "p-0", 1, at=1.2),
    # One transaction over two partitions, one that is aborted, one that nobody knows the end of, which is there.
    send("t1.p", "p-0", 3, txn="t1", process="t", n=1), send("t1.q", "q-0", 0, txn="t1", process="t", n=2), txn("t1"),
    send("t2.p", "p-0", 5, txn="t2", process="t", n=3), txn("t2", type="fail"),
    send("t3.q", "q-0", 2, txn="t3", process="t", n=4), txn("t3", type="info"),
    send("a.7", "p-0", 7, at=2.0), send("a.8", "p-0", None, type="info", n=8, at=2.1),
    # Copiers: the second reads what the first has written.
    send("c1.0", "loop-0", 0, txn="c1", process="c"),
    txn("c1", at=3.0, polled=[["q-0", 0, "t1.q"]], copies=[["t1.q", "c1.0"]], group="copier", offsets={"q-0": 1}),
    send("c2.0", "loop-0", 2, txn="c2", process="c"),
    txn("c2", at=4.0, polled=[["q-0", 2, "t3.q"], ["loop-0", 0, "c1.0"]], copies=[["t3.q", "c2.0"]], group="copier",
        offsets={"q-0": 3, "loop-0": 1}),
    committed(4.9, {"q-0": 3}, group="copier"),
    # Readers, of whom one begins again.
    {"op": "assign", "process": "r", "end": 4.0, "partitions": ["p-0"]},
    poll("r", {"p-0": P[:3]}), {"op": "assign", "process": "r", "end": 5.5, "partitions": ["p-0"]}, poll("r", {"p-0": P[1:]}, at=6.0),
    poll("u", {"p-0": [[0, "a.0"], [1, "a.1"], [3, "t1.p"], [5, "t2.p"], [7, "a.7"]]}, isolation=UNCOMMITTED),
    poll("g1", {"p-0": P}, group="g", at=5.0),
    committed(5.1, {"p-0": None}), commit(5.2, {"p-0": 2}), committed(5.4, {"p-0": 2}), commit(5.5, {"p-0": 4}, type="info"),
    committed(5.7, {"p-0": 2}), committed(5.9, {"p-0": 4}), commit(6.0, {"p-0": 8}), committed(6.2, {"p-0": 8}),
    read(COMMITTED, "p-0", P), read(COMMITTED, "q-0", Q), read(COMMITTED, "loop-0", L),
    read(UNCOMMITTED, "p-0", sorted(P + [[5, "t2.p"]])), read(UNCOMMITTED, "q-0", Q), read(UNCOMMITTED, "loop-0", L),
]


class BugBank(unittest.TestCase):
    def setUp(self):
        # As from a file, so that no two events share a list.
        self.events = json.loads(json.dumps(GOOD))

    def one(self, op, **fields):
        """The first event with these fields."""
        return next(event for event in self.events if event["op"] == op and fields.items() <= event.items())

    def forget(self, value, *isolations):
        for event in self.events:
            if event["op"] == "read" and event["isolation"] in isolations:
                event["records"] = [record for record in event["records"] if record[1] != value]

    def assert_finds(self, kind):
        found = check(self.events)
        self.assertIn(kind, {anomaly.kind for anomaly in found}, found)

    def test_a_good_history_has_no_anomaly(self):
        self.assertEqual(check(self.events), [])

    def test_an_acknowledged_record_that_is_lost(self):
        self.forget("a.1", COMMITTED, UNCOMMITTED)
        self.assert_finds("lost write")

    def test_a_committed_record_without_a_known_offset_that_is_lost(self):
        self.one("send", value="t1.p")["offset"] = None
        self.forget("t1.p", COMMITTED, UNCOMMITTED)
        self.assert_finds("lost write")

    def test_an_acknowledged_record_beyond_the_end(self):
        self.forget("a.7", COMMITTED, UNCOMMITTED)
        self.assert_finds("unseen")

    def test_a_record_that_was_read_and_is_gone(self):
        self.one("send", value="a.0")["type"] = "info"
        self.forget("a.0", COMMITTED, UNCOMMITTED)
        self.assert_finds("vanished")

    def test_a_record_that_is_there_twice(self):
        self.one("read", isolation=UNCOMMITTED, partition="p-0")["records"].append([8, "a.1"])
        self.assert_finds("duplicate")

    def test_two_values_at_one_offset(self):
        self.events.append(poll("s", {"p-0": [[1, "a.7"]]}))
        self.assert_finds("inconsistent offsets")

    def test_a_record_that_is_elsewhere_than_its_producer_was_told(self):
        self.one("send", value="a.1")["offset"] = 0
        self.assert_finds("inconsistent offsets")

    def test_a_value_that_nobody_has_sent(self):
        self.events.append(poll("s", {"p-0": [[9, "x.1"]]}))
        self.assert_finds("never sent")

    def test_a_record_in_another_partition_than_it_was_sent_to(self):
        self.one("send", value="a.0")["partition"] = "q-0"
        self.assert_finds("never sent")

    def test_a_read_of_an_aborted_transaction(self):
        self.events.append(poll("s", {"p-0": [[5, "t2.p"]]}))
        self.assert_finds("aborted read")

    def test_a_read_of_what_was_refused(self):
        self.one("send", value="a.1")["type"] = "fail"
        self.assert_finds("aborted read")

    def test_a_read_before_the_commit(self):
        self.events.append(poll("s", {"p-0": [[3, "t1.p"]]}, at=1.3))
        self.assert_finds("precommitted read")

    def test_a_read_of_what_no_commit_was_asked_for(self):
        self.one("txn", id="t3")["commit_begin"] = None
        self.events.append(poll("s", {"q-0": Q}))
        self.assert_finds("precommitted read")

    def test_a_transaction_that_reads_its_own_records(self):
        self.one("txn", id="c1")["polled"].append(["loop-0", 0, "c1.0"])
        self.assert_finds("precommitted read")

    def test_a_transaction_of_which_a_part_is_there(self):
        self.forget("t1.q", COMMITTED)
        self.assert_finds("torn transaction")

    def test_an_unknown_transaction_of_which_a_part_is_there(self):
        self.events.append(send("t3.p", "p-0", None, txn="t3", process="t", n=5))
        self.assert_finds("torn transaction")

    def test_a_consumer_that_goes_back(self):
        self.events.append(poll("r", {"p-0": [[1, "a.1"]]}, at=7.0))
        self.assert_finds("nonmonotonic poll")

    def test_a_poll_that_goes_back_in_itself(self):
        self.one("poll", process="u")["records"]["p-0"].append([3, "t1.p"])
        self.assert_finds("nonmonotonic poll")

    def test_a_consumer_that_is_not_given_a_record(self):
        del self.one("poll", process="g1")["records"]["p-0"][1]
        self.assert_finds("poll skip")

    def test_a_reader_of_everything_that_is_not_given_an_aborted_record(self):
        del self.one("poll", process="u")["records"]["p-0"][3]
        self.assert_finds("poll skip")

    def test_a_producer_whose_records_change_places(self):
        self.one("send", value="a.0")["n"] = 2
        self.assert_finds("nonmonotonic send")

    def test_transactions_that_read_each_other(self):
        self.one("txn", id="c1")["polled"].append(["loop-0", 2, "c2.0"])
        self.assert_finds("cycle of reads")

    def test_a_groups_offset_that_goes_back(self):
        self.events.append(committed(60.0, {"p-0": 2}))
        self.assert_finds("committed offset regression")

    def test_a_groups_offset_that_is_forgotten(self):
        self.events.append(committed(60.0, {"p-0": None}))
        self.assert_finds("committed offset regression")

    def test_a_groups_offset_that_nobody_has_committed(self):
        self.events.append(committed(7.0, {"p-0": 9}))
        self.assert_finds("committed offset regression")

    def test_a_group_that_commits_less_than_before(self):
        self.events += [commit(6.5, {"p-0": 4}), committed(6.9, {"p-0": 4}), commit(7.0, {"p-0": 8}), committed(7.2, {"p-0": 8})]
        self.assert_finds("committed offset regression")

    def test_a_coordinator_that_is_cut_off_may_tell_what_it_knows(self):
        self.events += [committed(7.0, {"p-0": 2}), committed(7.2, {"p-0": 8})]
        self.assertEqual(check(self.events), [])

    def test_a_groups_offset_of_an_aborted_transaction(self):
        self.one("txn", id="c2")["type"] = "fail"
        self.assert_finds("committed offset regression")

    def test_a_copy_that_is_made_twice(self):
        self.one("txn", id="c2")["copies"].append(["t1.q", "c2.0"])
        self.assert_finds("not once")

    def test_a_copy_that_is_not_made(self):
        self.one("txn", id="c1")["copies"].clear()
        self.assert_finds("not once")

    def test_a_record_that_no_member_of_the_group_was_given(self):
        for event in self.events:
            if event["op"] == "poll" and event["group"] == "g":
                event["records"]["p-0"] = event["records"]["p-0"][1:]
        self.assert_finds("group skip")

    def test_what_is_wrong_in_the_end(self):
        self.events.append({"op": "end", "kind": "last stable offset stuck", "text": "p-0: at 3 of 8"})
        self.assert_finds("last stable offset stuck")


class Replicas(unittest.TestCase):
    def test_equal_replicas_do_not_diverge(self):
        self.assertIsNone(divergence({1: {0: b"a", 2: b"b"}, 2: {0: b"a", 2: b"b", 4: b"c"}}, 4))

    def test_a_replica_may_begin_later(self):
        self.assertIsNone(divergence({1: {0: b"a", 2: b"b"}, 2: {2: b"b"}}, 4))

    def test_another_batch_at_an_offset(self):
        self.assertIn("offset 2", divergence({1: {0: b"a", 2: b"b"}, 2: {0: b"a", 2: b"x"}}, 4))

    def test_a_batch_that_is_missing_before_the_end(self):
        self.assertIn("offset 2", divergence({1: {0: b"a", 2: b"b"}, 2: {0: b"a"}}, 4))


if __name__ == "__main__":
    unittest.main()
