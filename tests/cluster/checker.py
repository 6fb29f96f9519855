"""What a history of a cluster's clients says against the promises of Kafka's protocol. Pure: a list of events in, anomalies out.

The rules are those of Jepsen's workload for Kafka (jepsen.tests.kafka), and some that real losses have taught. An event is a dict with
`op`; times are seconds of one monotonic clock; a partition is "topic-number"; a value is written by one send only, so it names it.

    setup      topics' partitions, `groups` (whose members read these topics), `copiers` (group: [from, to], each record once)
    send       process, session, n (its place in the session), partition, value, type, offset, txn (or null), begin, end
    txn        id, type, commit_begin (or null), end, polled [[partition, offset, value]], copies [[origin, copy]], group, offsets
    assign     process, partitions: what it has read there before says nothing about what it reads next
    poll       process, isolation, group (or null), begin, end, records {partition: [[offset, value]]}
    commit     group, type, offsets, begin, end
    committed  group, offsets as the coordinator tells them, begin, end
    read       isolation, partition, records: what is there in the end, from the first offset to the last
    end        what is not as it must be when all is healed: kind, text

`type` is ok, fail (surely not) or info (nobody knows). A transaction's type counts for what was sent in it.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict, namedtuple
from itertools import accumulate, pairwise

Anomaly = namedtuple("Anomaly", "kind text")

COMMITTED, UNCOMMITTED = "read_committed", "read_uncommitted"
FOREVER = float("inf")

# A coordinator that is cut off from the others does not know that another has its office, and tells what it knows, as Kafka's does.
STALE_SECONDS = 30


class History:
    """The events by kind, and what each value's writer says of it."""

    def __init__(self, events):
        self.by_op = defaultdict(list)
        for event in events:
            self.by_op[event["op"]].append(event)
        self.txns = {event["id"]: event for event in self.by_op["txn"]}
        self.sends = {event["value"]: event for event in self.by_op["send"]}
        self.final = {COMMITTED: defaultdict(dict), UNCOMMITTED: defaultdict(dict)}
        for event in self.by_op["read"]:
            self.final[event["isolation"]][event["partition"]].update(map(tuple, event["records"]))
        self.values = {}
        self.setup = self.by_op["setup"][0] if self.by_op["setup"] else {}

    def there(self, isolation, partition):
        """The values that a partition has in the end."""
        if (isolation, partition) not in self.values:
            self.values[isolation, partition] = set(self.final[isolation][partition].values())
        return self.values[isolation, partition]

    def outcome(self, send):
        """Whether what was sent is there: ok, fail or info."""
        if send["txn"] is None:
            return send["type"]
        txn = self.txns.get(send["txn"])
        return txn["type"] if txn else "info"

    def observed(self):
        """(isolation, partition, offset, value) of all that was read, by polls and in the end."""
        for poll in self.by_op["poll"]:
            for partition, records in poll["records"].items():
                for offset, value in records:
                    yield poll["isolation"], partition, offset, value
        for isolation, partitions in self.final.items():
            for partition, records in partitions.items():
                for offset, value in records.items():
                    yield isolation, partition, offset, value

    def sent_in_txns(self):
        sent = defaultdict(list)
        for send in self.by_op["send"]:
            if send["txn"] is not None:
                sent[send["txn"]].append(send)
        return sent


def check(events):
    """All anomalies of a history, those of one kind together."""
    history = History(events)
    return [Anomaly(rule.__name__.replace("_", " "), text) for rule in RULES for text in rule(history)] + [
        Anomaly(event["kind"], event["text"]) for event in history.by_op["end"]
    ]


def inconsistent_offsets(history):
    """Two values at one offset of a partition."""
    values = defaultdict(set)
    for _, partition, offset, value in history.observed():
        values[partition, offset].add(value)
    for send in history.by_op["send"]:
        if send["type"] == "ok" and send["offset"] is not None:
            values[send["partition"], send["offset"]].add(send["value"])
    for (partition, offset), found in values.items():
        if len(found) > 1:
            yield f"{partition} offset {offset}: {sorted(found)}"


def duplicate(history):
    """One value at two places."""
    places = defaultdict(set)
    for _, partition, offset, value in history.observed():
        places[value].add((partition, offset))
    for value, found in places.items():
        if len(found) > 1:
            yield f"{value}: {sorted(found)}"


def never_sent(history):
    """A value that nobody has sent, or elsewhere."""
    found = {(value, partition) for _, partition, _, value in history.observed()}
    for value, partition in sorted(found):
        send = history.sends.get(value)
        if send is None or send["partition"] != partition:
            yield f"{value} in {partition}"


def _missing(history):
    for send in history.by_op["send"]:
        if history.outcome(send) != "ok":
            continue
        for isolation in (COMMITTED, UNCOMMITTED):
            if send["value"] not in history.there(isolation, send["partition"]):
                yield send, isolation, max(history.final[isolation][send["partition"]], default=-1)


def lost_write(history):
    """Acknowledged or committed, and not there although what comes after it is."""
    for send, isolation, last in _missing(history):
        if send["offset"] is None or send["offset"] <= last:
            yield f"{_told(send)}, {isolation}"


def unseen(history):
    """Acknowledged or committed, and nobody reads as far in the end."""
    for send, isolation, last in _missing(history):
        if send["offset"] is not None and send["offset"] > last:
            yield f"{_told(send)}, {isolation} ends at {last}"


def _told(send):
    return f"{send['value']} at {send['partition']} offset {send['offset']}, acknowledged at {send['end']:.2f} s"


def vanished(history):
    """Read by somebody, and not there in the end."""
    told = set()
    for poll in history.by_op["poll"]:
        for partition, records in poll["records"].items():
            final = history.final[poll["isolation"]][partition]
            for offset, value in records:
                if offset not in final and (partition, offset) not in told:
                    told.add((partition, offset))
                    yield f"{value} at {partition} offset {offset}, read by {poll['process']} at {poll['end']:.2f} s ({poll['isolation']})"


def aborted_read(history):
    """G1a: what was surely not written, or a transaction that was aborted, to a reader of what is committed."""
    told = set()
    for isolation, partition, offset, value in history.observed():
        send = history.sends.get(value)
        if send is None or (value, isolation) in told:
            continue
        is_refused = send["txn"] is None and send["type"] == "fail"
        is_aborted = send["txn"] is not None and isolation == COMMITTED and history.outcome(send) == "fail"
        if is_refused or is_aborted:
            told.add((value, isolation))
            yield f"{value} of {send['txn'] or send['process']} at {partition} offset {offset}, {isolation}"


def precommitted_read(history):
    """What a transaction has written, to itself or to a reader of what is committed, before its commit was asked for."""
    for poll in history.by_op["poll"]:
        if poll["isolation"] != COMMITTED:
            continue
        for partition, records in poll["records"].items():
            for offset, value in records:
                send = history.sends.get(value)
                txn = send and send["txn"] and history.txns.get(send["txn"])
                if txn and txn["type"] != "fail" and (txn["commit_begin"] is None or poll["end"] < txn["commit_begin"]):
                    yield f"{value} of {txn['id']} at {partition} offset {offset}, to {poll['process']} at {poll['end']:.2f} s"
    for txn in history.by_op["txn"]:
        for partition, offset, value in txn["polled"]:
            if value in history.sends and history.sends[value]["txn"] == txn["id"]:
                yield f"{value} at {partition} offset {offset}, to its own transaction {txn['id']}"


def torn_transaction(history):
    """Of what one transaction has sent, a part is there."""
    for txn, sends in history.sent_in_txns().items():
        missing = [send for send in sends if send["value"] not in history.there(COMMITTED, send["partition"])]
        if 0 < len(missing) < len(sends):
            yield f"{txn}: {len(missing)} of {len(sends)} records are not there, such as {missing[0]['value']} of {missing[0]['partition']}"


def _polls_in_order(history):
    """(poll, partition, offset before or None, offset) of every record that a process was given, by when it was."""
    before = {}
    events = sorted(history.by_op["poll"] + history.by_op["assign"], key=lambda event: event["end"])
    for event in events:
        if event["op"] == "assign":
            for partition in event["partitions"]:
                before.pop((event["process"], partition), None)
            continue
        for partition, records in event["records"].items():
            for offset, _ in records:
                yield event, partition, before.get((event["process"], partition)), offset
                before[event["process"], partition] = offset


def nonmonotonic_poll(history):
    """A consumer is given an offset again, or an earlier one."""
    for poll, partition, before, offset in _polls_in_order(history):
        if before is not None and offset <= before:
            yield f"{poll['process']} at {poll['end']:.2f} s: {partition} offset {offset} after {before}"


def poll_skip(history):
    """A consumer is not given what is between two offsets, and is there."""
    visible = {
        isolation: {partition: sorted(records) for partition, records in partitions.items()}
        for isolation, partitions in history.final.items()
    }
    for poll, partition, before, offset in _polls_in_order(history):
        if before is None or offset <= before + 1:
            continue
        offsets = visible[poll["isolation"]].get(partition, [])
        place = bisect_right(offsets, before)
        if place < len(offsets) and offsets[place] < offset:
            yield f"{poll['process']} at {poll['end']:.2f} s: {partition} from {before} to {offset} without {offsets[place]}"


def nonmonotonic_send(history):
    """What one session of a producer has sent to a partition stands in another order."""
    sessions = defaultdict(list)
    for send in history.by_op["send"]:
        if send["type"] == "ok" and send["offset"] is not None:
            sessions[send["process"], send["session"], send["partition"]].append((send["n"], send["offset"], send["value"]))
    for (process, session, partition), sends in sessions.items():
        for (_, offset, value), (_, later_offset, later_value) in pairwise(sorted(sends)):
            if later_offset <= offset:
                yield f"{process} session {session}: {value} at {partition} offset {offset}, then {later_value} at {later_offset}"


def cycle_of_reads(history):
    """G1c: transactions that have each read what the next one has written, in a circle."""
    edges = defaultdict(set)
    for txn in history.by_op["txn"]:
        if txn["type"] == "fail":
            continue
        for _, _, value in txn["polled"]:
            writer = history.sends.get(value, {}).get("txn")
            if writer and writer != txn["id"]:
                edges[txn["id"]].add(writer)
    for component in _strongly_connected(edges):
        yield " and ".join(sorted(component))


def _strongly_connected(edges):
    """Tarjan's algorithm without recursion; components of more than one node."""
    index, low, stack, on_stack, count = {}, {}, [], set(), 0
    for root in list(edges):
        if root in index:
            continue
        index[root] = low[root] = count
        count += 1
        stack.append(root)
        on_stack.add(root)
        work = [(root, iter(edges.get(root, ())))]
        while work:
            node, rest = work[-1]
            following = next(rest, None)
            if following is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = []
                    while not component or component[-1] != node:
                        component.append(stack.pop())
                        on_stack.discard(component[-1])
                    if len(component) > 1:
                        yield component
            elif following not in index:
                index[following] = low[following] = count
                count += 1
                stack.append(following)
                on_stack.add(following)
                work.append((following, iter(edges.get(following, ()))))
            elif following in on_stack:
                low[node] = min(low[node], index[following])


class Commits:
    """The commits of a group to one partition: (begin, end, offset), where those that nobody knows the end of have none."""

    def __init__(self):
        self.known, self.unknown = [], []

    def add(self, begin, end, offset, outcome):
        if outcome == "ok":
            self.known.append((begin, end, offset))
        elif outcome == "info":
            self.unknown.append((begin, FOREVER, offset))

    def arrange(self):
        self.known.sort(key=lambda commit: commit[1])
        self.ends = [end for _, end, _ in self.known]
        # The latest begin of those that have ended by then, and the earliest of those that end from then on.
        self.latest = list(accumulate((begin for begin, _, _ in self.known), max))
        self.earliest = list(accumulate((begin for begin, _, _ in reversed(self.known)), min))[::-1]

    def going_back(self):
        """(begin, (end, offset), offset): of each commit that began after the end of one with a higher offset, and of that."""
        highest = list(accumulate(((offset, end) for _, end, offset in self.known), max))
        for begin, _, offset in self.known:
            before = bisect_left(self.ends, begin)
            if before and highest[before - 1][0] > offset:
                yield begin, highest[before - 1][::-1], offset

    def allowed(self, begin, end):
        """What may be told to a question asked and answered then: what no commit that was over well before has replaced."""
        before = bisect_left(self.ends, begin - STALE_SECONDS)
        replaced_until = self.latest[before - 1] if before else None
        allowed = {offset for commit_begin, _, offset in self.unknown if commit_begin < end}
        if replaced_until is None:
            allowed.add(None)
        at = bisect_left(self.ends, replaced_until) if before else 0
        while at < len(self.known) and self.earliest[at] < end:
            commit_begin, _, offset = self.known[at]
            if commit_begin < end:
                allowed.add(offset)
            at += 1
        return allowed


def committed_offset_regression(history):
    """A group commits less than had been committed before; or an offset of it is told that had been replaced long before, or that
    nobody has committed."""
    commits = defaultdict(Commits)
    for event in history.by_op["commit"]:
        for partition, offset in event["offsets"].items():
            commits[event["group"], partition].add(event["begin"], event["end"], offset, event["type"])
    for txn in history.by_op["txn"]:
        # Those of a transaction happen in its commit.
        if txn["commit_begin"] is not None:
            for partition, offset in txn["offsets"].items():
                commits[txn["group"], partition].add(txn["commit_begin"], txn["end"], offset, txn["type"])
    for (group, partition), each in commits.items():
        each.arrange()
        for begin, (end, offset), later in each.going_back():
            yield f"{group} {partition}: {later} at {begin:.2f} s, where {offset} was committed by {end:.2f} s"
    nothing = Commits()
    nothing.arrange()
    for event in history.by_op["committed"]:
        for partition, offset in event["offsets"].items():
            allowed = commits.get((event["group"], partition), nothing).allowed(event["begin"], event["end"])
            if offset not in allowed:
                yield f"{event['group']} {partition} at {event['end']:.2f} s: {offset}, where it could be {sorted(allowed, key=str)[:5]}"


def not_once(history):
    """A record that copiers have copied twice, or have passed without a copy."""
    final = history.final[COMMITTED]
    there = {value for records in final.values() for value in records.values()}
    copies = defaultdict(list)
    for txn in history.by_op["txn"]:
        for origin, copy in txn["copies"]:
            if copy in there:
                copies[origin].append(copy)
    for origin, found in copies.items():
        if len(found) > 1:
            yield f"{origin} is there as {sorted(found)}"
    for group, (source, _) in history.setup.get("copiers", {}).items():
        for partition, until in _last_committed(history, group).items():
            if partition.rpartition("-")[0] != source:
                continue
            for offset, value in final[partition].items():
                if offset < until and not copies[value]:
                    yield f"{value} at {partition} offset {offset}, before {until} where {group} is, has no copy"


def group_skip(history):
    """A record before a group's offset that none of its members was given."""
    given = defaultdict(set)
    for poll in history.by_op["poll"]:
        for partition, records in poll["records"].items():
            given[poll["group"], partition].update(offset for offset, _ in records)
    for group in history.setup.get("groups", []):
        for partition, until in _last_committed(history, group).items():
            for offset, value in history.final[COMMITTED][partition].items():
                if offset < until and offset not in given[group, partition]:
                    yield f"{group}: {value} at {partition} offset {offset}, before {until} where the group is"


def _last_committed(history, group):
    """Where a group is in the end; what it was last told for certain."""
    last = {}
    for event in sorted(history.by_op["committed"], key=lambda event: event["end"]):
        if event["group"] == group:
            last.update({partition: offset for partition, offset in event["offsets"].items() if offset is not None})
    return last


RULES = [
    inconsistent_offsets, duplicate, never_sent, lost_write, unseen, vanished, aborted_read, precommitted_read, torn_transaction,
    nonmonotonic_poll, poll_skip, nonmonotonic_send, cycle_of_reads, committed_offset_regression, not_once, group_skip,
]
