# The commands that CI runs, and the ones a developer needs. `just --list` shows them.

target := env("CARGO_TARGET_DIR", "target")

# Everything that must hold before a change lands
ci:
    .ci/run

# What the conformance clients need (Debian, PyPI, npm)
setup:
    scripts/setup.sh

test:
    cargo test --workspace

format:
    cargo fmt --all

lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

release:
    cargo build --release

# kcat, librdkafka, kafka-python, aiokafka and kafkajs against the release binary
conformance: release setup
    tests/conformance/run.sh

# Apache Kafka's own command-line tools against the release binary, and its data directory adopted by it (the first run
# fetches Kafka's jars)
kafka-tools: release
    tests/conformance/kafka_tools_check.sh
    tests/conformance/kafka_adopt.sh
    tests/conformance/kafka_quorum.sh

# The example pipelines, the whole year and kills at random moments, with the release binary
pipelines: release
    tests/end_to_end/pipelines.sh

# Plugins in JavaScript and Rust: written, built, tried and used in SQL, with the release binary
plugins: release setup
    tests/end_to_end/plugins.sh

# The machines of groups, transactions, the quorum and replicas through random histories, and the bug banks
simulations:
    OTTLA_SEEDS=10000 cargo test --release -p ottla-broker --lib -- simulation --include-ignored

# 200 kills, 50 power cuts (root, loop devices) and failing disks (strace) of a broker under load
crashes:
    tests/crash/kill.sh 200
    tests/crash/kill.sh 100 "" --log-dirs a,b,c
    tests/crash/power.sh 50
    tests/crash/power.sh 25 "" --log-dirs a,b
    tests/crash/faults.sh 10

# How long producers wait for another leader when theirs is killed or stopped, on three servers
failover: release setup
    tests/cluster/failover.sh 10
    tests/cluster/failover.sh 10 "" java

# Servers whose clocks are set forward by hours and weeks while they run
uptime: release setup
    tests/cluster/uptime.sh

# A node added, one taken out and one that dies, by the command line under load, on four servers
operations: release setup
    tests/cluster/operations.sh

# Three servers under load restarted one by one from another binary to this one and back
upgrade OLD: release setup
    tests/cluster/upgrade.sh {{ OLD }} {{ target }}/release/ottla

# Failover of 10,000 partitions on three servers, and what their followers cost
many-partitions: release setup
    tests/cluster/many.sh

# Kafka's kafka-reassign-partitions with a throttle on three servers, timed
throttled-reassignment: release setup
    tests/cluster/reassign.sh

# A consumer that reads at the follower of its rack, on three servers
nearest-replica: release setup
    tests/cluster/nearest.sh

# Three servers under every nemesis for half an hour, and the history of their clients against Kafka's promises (root)
checked: release setup
    tests/cluster/check.sh --seconds 1800

# The checker's bug bank
checker:
    cd tests/cluster && "${OTTLA_CACHE:-$HOME/.cache/ottla}/py/bin/python" -m unittest checker_test

# A transactional copy loop against its input, with copier and broker killed 100 times each
exactly-once:
    tests/crash/exactly_once.sh 200
    tests/crash/exactly_once.sh 40 "" "$RANDOM" java

# The four example pipelines on a server that is killed 50 times for each, against batch computations
pipelines-killed: release
    tests/crash/pipelines.sh 50

# All queries of Nexmark at once over a million events, on a server that is killed at random moments and on one that is not
nexmark-killed:
    OTTLA_NEXMARK_EVENTS=1000000 OTTLA_NEXMARK_KILLS=0 cargo test --release --workspace --test nexmark_killed -- --nocapture
    OTTLA_NEXMARK_EVENTS=1000000 OTTLA_NEXMARK_KILLS=40 OTTLA_LIFE_MAX=3000 cargo test --release --workspace --test nexmark_killed -- --nocapture

# Asks an Apache Kafka for the error codes that the test `error_codes` holds the broker against
kafka-error-codes:
    tests/conformance/kafka_error_codes.sh

# Every fuzz target for a minute
fuzz:
    tests/fuzz/run.sh 60

# Streaming SQL against DataFusion's batch answers: 5,000 random queries, and Nexmark with a million events
answers:
    OTTLA_TEST_CASES=5000 OTTLA_NEXMARK_EVENTS=1000000 cargo test --release --workspace --test answers

# Time to the first answer and idle memory of the release binary
startup: release
    tests/bench/startup.sh

# What a record costs from files to topics and back and through a plugin, with the release binary
pipelines: release
    tests/bench/pipelines.sh

# Writes protocol/src/messages/ from protocol/messages/
generate:
    cargo run -p ottla-protocol --example generate
