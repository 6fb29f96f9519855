"""Clients that read: with partitions of their own choice, as members of groups, and to the end when all is over."""

import time

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition

from checker import COMMITTED, FOREVER
from history import SILENCE, now
from producers import Worker


def name_of(place):
    return f"{place.topic}-{place.partition}"


class Reader(Worker):
    """Polls, and records what each poll gives."""

    isolation, group = COMMITTED, None

    def config(self, **more):
        return self.quiet(**{
            "group.id": self.group or f"none-{self.name}", "isolation.level": self.isolation, "enable.auto.commit": False,
            "auto.offset.reset": "earliest", "fetch.wait.max.ms": 100, **more})

    def begin(self):
        # Where to go on after what was given since the last commit, and partitions that came or went without being told of yet.
        self.positions, self.moves = {}, []

    def moved(self, consumer, partitions):
        self.moves.append([name_of(place) for place in partitions])

    def poll(self, consumer, seconds=0.25):
        self.beat()
        begin, records = now(), {}
        while now() < begin + seconds:
            message = consumer.poll(0.05)
            if self.moves:
                # What was given before belongs to the assignment before, and others may be given it too.
                self.tell(begin, records)
                for partitions in self.moves:
                    self.record("assign", process=self.name, end=now(), partitions=partitions)
                self.begin()
                begin, records = now(), {}
            if message is None or message.error() is not None:
                continue
            place = message.topic(), message.partition()
            records.setdefault(f"{place[0]}-{place[1]}", []).append([message.offset(), message.value().decode()])
            self.positions[place] = message.offset() + 1
        self.tell(begin, records)

    def tell(self, begin, records):
        self.context.polls += 1
        if records:
            self.record("poll", process=self.name, isolation=self.isolation, group=self.group, begin=begin, end=now(), records=records)


class AssignedReader(Reader):
    """Reads all partitions, and begins elsewhere now and then."""

    def __init__(self, name, context, isolation, role=None):
        super().__init__(name, context, isolation, role=role)
        self.isolation = isolation

    def work(self):
        self.begin()
        consumer = Consumer(self.config())
        places = self.context.partitions_of()
        while not self.is_over.is_set():
            starts = [
                TopicPartition(*place, max(0, self.positions.get(place, 0) - self.chance.choice([0, 0, 50, 1000]))) for place in places
            ]
            self.record("assign", process=self.name, end=now(), partitions=[name_of(start) for start in starts])
            consumer.assign(starts)
            until = now() + self.chance.uniform(5, 40)
            while now() < until and not self.is_over.is_set():
                self.poll(consumer)
        consumer.close()


class Member(Reader):
    """A member of a group, which commits what it was given, and sometimes leaves."""

    def __init__(self, name, context, group, protocol, role=None):
        super().__init__(name, context, group, protocol, role=role)
        self.group, self.protocol = group, protocol

    def work(self):
        self.begin()
        own = {"group.protocol": "consumer"} if self.protocol == "consumer" else {"session.timeout.ms": 6000}
        consumer = Consumer(self.config(**own, **{"max.poll.interval.ms": 20_000}))
        consumer.subscribe(self.context.groups[self.group], on_assign=self.moved, on_revoke=self.moved, on_lost=self.moved)
        until = now() + self.chance.uniform(15, 60)
        try:
            while now() < until and not self.is_over.is_set():
                self.poll(consumer)
                if self.positions and self.chance.random() < 0.5:
                    self.commit(consumer)
        finally:
            if self.is_over.is_set() or self.chance.random() < 0.7:
                consumer.close()

    def commit(self, consumer):
        offsets = [TopicPartition(*place, offset) for place, offset in self.positions.items()]
        self.positions = {}
        begin, outcomes = now(), {}
        try:
            for each in consumer.commit(offsets=offsets, asynchronous=False):
                outcomes[name_of(each)] = "ok" if each.error is None else "info"
        except KafkaException as error:
            self.context.complain(self.name, error.args[0].name(), error.args[0].str())
        for outcome in ("ok", "info"):
            part = {name_of(each): each.offset for each in offsets if outcomes.get(name_of(each), "info") == outcome}
            if part:
                self.record("commit", process=self.name, group=self.group, type=outcome, begin=begin, end=now(), offsets=part)


class Inspector(Worker):
    """Asks where the groups are."""

    def __init__(self, name, context, groups, role=None):
        super().__init__(name, context, groups, role=role)
        self.groups, self.consumers = groups, {}

    def work(self):
        while not self.is_over.wait(0.5):
            for group in self.groups:
                self.beat()
                self.committed(group, 5)

    def committed(self, group, timeout):
        """Where a group is in each partition (None: nowhere), or nothing if nobody answers."""
        if group not in self.consumers:
            self.consumers[group] = Consumer(self.quiet(**{"group.id": group, "isolation.level": COMMITTED}))
        topics = self.context.groups[group]
        begin = now()
        try:
            places = self.consumers[group].committed([TopicPartition(*place) for place in self.context.partitions_of(*topics)], timeout)
        except KafkaException as error:
            self.context.complain(self.name, error.args[0].name(), error.args[0].str())
            return None
        offsets = {name_of(place): None if place.offset == OFFSET_INVALID else place.offset for place in places if place.error is None}
        self.record("committed", group=group, begin=begin, end=now(), offsets=offsets)
        return offsets


class FinalReader:
    """Reads everything that is there, from the first offset on."""

    def __init__(self, context, isolation):
        self.isolation, self.places = isolation, context.partitions_of()
        self.records = {place: {} for place in self.places}
        self.consumer = Consumer({
            "bootstrap.servers": context.bootstrap, "group.id": f"final-{isolation}", "isolation.level": isolation, "log_level": 0, "logger": SILENCE,
            "enable.auto.commit": False, "enable.partition.eof": True, "error_cb": lambda error: context.complain("final", error.name())})
        self.consumer.assign([TopicPartition(*place, 0) for place in self.places])
        # Where each partition ends, and as far as it was read to an end.
        self.ends, self.reached = {}, {}

    def advance(self, deadline):
        """Reads to where each partition ends by now, and gives the partitions of which that is not told or not reached in time."""
        self.ends = {}
        while missing := [place for place in self.places if self.reached.get(place, 0) < self.ends.get(place, FOREVER)]:
            if time.monotonic() > deadline:
                break
            for place in [each for each in missing if each not in self.ends]:
                try:
                    self.ends[place] = self.consumer.get_watermark_offsets(TopicPartition(*place), timeout=5)[1]
                except KafkaException:
                    pass
            for message in self.consumer.consume(1000, 0.2):
                place = message.topic(), message.partition()
                if message.error() is None:
                    self.records[place][message.offset()] = message.value().decode()
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    # Beyond the markers that stand last, which no record tells of.
                    self.reached[place] = message.offset()
        return missing

    def last(self, place):
        return max(self.records[place], default=-1)

    def tell(self, recorder):
        for (topic, partition), records in self.records.items():
            recorder.add("read", isolation=self.isolation, partition=f"{topic}-{partition}", records=sorted(records.items()))
        self.consumer.close()

