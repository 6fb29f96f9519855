"""Clients that write: records alone, transactions, and copies of what transactions have written."""

import random
import threading

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from history import SILENCE, now


class Worker(threading.Thread):
    """A client that goes on until it is told that it is over, whatever goes wrong. `role` is what it is; a worker that takes the place
    of one that is stuck in its client has the same role and another name."""

    def __init__(self, name, context, *rest, role=None):
        super().__init__(daemon=True, name=name)
        self.context, self.record, self.rest, self.role = context, context.recorder.add, rest, role or name
        self.chance = random.Random(f"{context.seed} {name}")
        self.is_over = threading.Event()
        self.session = self.count = 0
        self.sending, self.seen_at = None, now()

    def beat(self):
        """It is not stuck."""
        self.seen_at = now()

    def heir(self):
        """Another one in the place of this one, whose client does not come back from a call."""
        self.is_over.set()
        if self.sending:
            self.sending.end()
        return type(self)(self.name + "'", self.context, *self.rest, role=self.role)

    def run(self):
        while not self.is_over.is_set():
            self.session += 1
            try:
                self.work()
            except KafkaException as error:
                self.context.complain(self.name, error.args[0].name(), error.args[0].str())
                self.is_over.wait(0.2)

    def quiet(self, **config):
        """A configuration for this client: it logs nothing, errors are counted."""
        return {
            "bootstrap.servers": self.context.bootstrap, "client.id": self.name, "log_level": 0, "logger": SILENCE,
            "error_cb": lambda error: self.context.complain(self.name, error.name(), error.str()),
            # No re-bootstrap: when all brokers are gone librdkafka loses the group's coordinator for good, and sending offsets waits for
            # it, without regard for the timeout (its issues 5511 and 5456).
            "reconnect.backoff.max.ms": 1000, "metadata.recovery.strategy": "none", **config,
        }

    def value(self):
        self.count += 1
        return f"{self.name}.{self.count}"


class Session:
    """What one producer has sent. All of it is recorded, at the latest in the end as known to nobody."""

    def __init__(self, worker, producer):
        self.worker, self.producer, self.pending, self.sent = worker, producer, {}, 0
        worker.sending = self

    def send(self, topic, partition, txn=None):
        value = self.worker.value()
        self.sent += 1
        entry = {"process": self.worker.name, "session": self.worker.session, "n": self.sent, "partition": f"{topic}-{partition}",
                 "value": value, "txn": txn, "begin": now()}
        self.pending[value] = entry

        def delivered(error, message):
            if self.pending.pop(value, None) is None:
                return
            if error is None:
                # No offset where the first answer was lost and the second says only that the record is there.
                self.worker.record("send", **entry, end=now(), type="ok", offset=message.offset())
                self.worker.context.acknowledged(entry["partition"])
            else:
                self.worker.record("send", **entry, end=now(), type="info", offset=None, error=error.name())

        try:
            self.producer.produce(topic, value, partition=partition, on_delivery=delivered)
        except (BufferError, KafkaException):
            # It is not even in the client's queue.
            del self.pending[value]
            raise
        return value

    def end(self):
        while self.pending:
            try:
                _, entry = self.pending.popitem()
            except KeyError:
                break
            self.worker.record("send", **entry, end=now(), type="info", offset=None)


class PlainProducer(Worker):
    """An idempotent producer of records alone."""

    def work(self):
        producer = Producer(self.quiet(**{
            "enable.idempotence": True, "acks": "all", "linger.ms": self.chance.choice([0, 2, 10]),
            # Long enough for all that happens: librdkafka goes on in a new epoch after a record that was too late, and may then write
            # others twice.
            "delivery.timeout.ms": 600_000,
        }))
        session = Session(self, producer)
        until = now() + self.chance.uniform(10, 60)
        try:
            while now() < until and not self.is_over.is_set():
                self.beat()
                for _ in range(min(self.chance.choice([1, 2, 10]), 400 - len(session.pending))):
                    # An error is a fatal one, of this session: what it has sent before may be there or not.
                    session.send(*self.chance.choice(self.context.partitions_of("plain", "txn")))
                producer.poll(0)
                self.is_over.wait(self.chance.choice([0.005, 0.02, 0.04]))
            producer.flush(120 if self.is_over.is_set() else 20)
        finally:
            session.end()


class Transactions(Worker):
    """What a transactional producer does to end its transactions, so that it knows how they have ended or knows that it does not."""

    def begin_session(self):
        producer = Producer(self.quiet(**{
            "transactional.id": self.role, "transaction.timeout.ms": 10_000, "linger.ms": 1, "acks": "all"}))
        self.ended = False
        while True:
            self.beat()
            try:
                producer.init_transactions(15)
                return producer
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise

    def open(self):
        self.txns = getattr(self, "txns", 0) + 1
        return {"id": f"{self.name}:{self.txns}", "process": self.name, "begin": now(), "commit_begin": None, "polled": [], "copies": [],
                "group": None, "offsets": {}}

    def close(self, txn, outcome):
        self.record("txn", **txn, type=outcome, end=now())

    def commit(self, producer, txn):
        """Whether it is committed; if it is not it is aborted. Where nobody knows, an error ends the session."""
        txn["commit_begin"] = now()
        outcome = "info"
        try:
            while True:
                self.beat()
                try:
                    producer.commit_transaction(15)
                    outcome = "ok"
                    return True
                except KafkaException as error:
                    if error.args[0].retriable():
                        continue
                    if not error.args[0].txn_requires_abort():
                        raise
                    self.context.complain(self.name, error.args[0].name(), error.args[0].str())
                    self.abort_until_done(producer)
                    outcome = "fail"
                    return False
        finally:
            self.close(txn, outcome)

    def abort(self, producer, txn):
        """Nobody has asked for a commit, so whatever happens it is none."""
        self.close(txn, "fail")
        self.abort_until_done(producer)

    def abort_until_done(self, producer):
        while True:
            self.beat()
            try:
                producer.abort_transaction(15)
                return
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise


class TransactionalProducer(Transactions):
    """Transactions over several partitions; some are aborted, some abandoned."""

    def work(self):
        producer = self.begin_session()
        session = Session(self, producer)
        try:
            for _ in range(self.chance.randrange(20, 200)):
                if self.is_over.is_set():
                    return
                if not self.transaction(producer, session):
                    return
                session.end()
                self.is_over.wait(self.chance.choice([0, 0.02, 0.1]))
        finally:
            session.end()

    def transaction(self, producer, session):
        producer.begin_transaction()
        txn = self.open()
        try:
            for _ in range(self.chance.choice([1, 2, 3, 5, 20])):
                session.send(*self.chance.choice(self.context.partitions_of("plain", "txn")), txn=txn["id"])
                producer.poll(self.chance.choice([0, 0, 0.01]))
        except (BufferError, KafkaException):
            self.abort(producer, txn)
            return True
        ending = self.chance.random()
        if ending < 0.02:
            # As one that was killed: the next session's begin aborts it.
            producer.flush(2)
            self.close(txn, "fail")
            return False
        if ending < 0.2:
            if self.chance.random() < 0.5:
                producer.flush(5)
            self.abort(producer, txn)
        else:
            self.commit(producer, txn)
        return True


class Copier(Transactions):
    """Consume, transform, produce: every record of the topic `txn` into `loop`, once. It consumes `loop` too, so that copiers read from
    each other."""

    def work(self):
        producer = self.begin_session()
        consumer = Consumer(self.quiet(**{
            "group.id": "copier", "isolation.level": "read_committed", "auto.offset.reset": "earliest", "enable.auto.commit": False,
            # Whose thread is stuck in a call of the producer does not hold up the group for long.
            "session.timeout.ms": 6000, "max.poll.interval.ms": 20_000, "fetch.wait.max.ms": 100}))
        self.has_moved = False

        def moved(consumer, partitions):
            self.has_moved = True
            self.record("assign", process=self.name, end=now(), partitions=[f"{p.topic}-{p.partition}" for p in partitions])

        consumer.subscribe(["txn", "loop"], on_assign=moved, on_revoke=moved, on_lost=moved)
        session = Session(self, producer)
        try:
            until = now() + self.chance.uniform(20, 60)
            while not self.is_over.is_set() and now() < until:
                batch = self.collect(consumer)
                if batch and not self.copy(consumer, producer, session, batch):
                    return
                session.end()
        finally:
            session.end()
            if self.is_over.is_set() or self.chance.random() < 0.5:
                consumer.close()

    def collect(self, consumer):
        self.beat()
        batch, self.has_moved, begin = [], False, now()
        while len(batch) < 500 and now() < begin + 0.2:
            message = consumer.poll(0.05)
            if self.has_moved:
                # Others may have what was taken away, and do it again.
                batch, self.has_moved = [], False
            if message is not None and message.error() is None:
                batch.append(message)
        records = {}
        for each in batch:
            records.setdefault(f"{each.topic()}-{each.partition()}", []).append([each.offset(), each.value().decode()])
        if records:
            self.record("poll", process=self.name, isolation="read_committed", group="copier", begin=begin, end=now(), records=records)
        return batch

    def copy(self, consumer, producer, session, batch):
        """Whether the session can go on."""
        producer.begin_transaction()
        txn = self.open()
        txn["group"] = "copier"
        positions = {}
        try:
            for message in batch:
                place, value = (message.topic(), message.partition()), message.value().decode()
                txn["polled"].append([f"{place[0]}-{place[1]}", message.offset(), value])
                positions[place] = message.offset() + 1
                if message.topic() == "txn":
                    copied = session.send(*self.chance.choice(self.context.partitions_of("loop")), txn=txn["id"])
                    txn["copies"].append([value, copied])
            txn["offsets"] = {f"{topic}-{partition}": offset for (topic, partition), offset in positions.items()}
            producer.send_offsets_to_transaction(
                [TopicPartition(*place, offset) for place, offset in positions.items()], consumer.consumer_group_metadata(), 15)
        except (BufferError, KafkaException) as error:
            if isinstance(error, KafkaException):
                self.context.complain(self.name, error.args[0].name(), error.args[0].str())
            self.abort(producer, txn)
            return False
        if self.chance.random() < 0.1:
            self.abort(producer, txn)
            return self.rewind(consumer)
        return self.commit(producer, txn)

    def rewind(self, consumer):
        """Back to what is committed. Where that cannot be, the next session begins there."""
        try:
            positions = consumer.committed(consumer.assignment(), 10)
            self.record("assign", process=self.name, end=now(), partitions=[f"{p.topic}-{p.partition}" for p in positions])
            for position in positions:
                consumer.seek(TopicPartition(position.topic, position.partition, max(position.offset, 0)))
            return True
        except KafkaException:
            return False
