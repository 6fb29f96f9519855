#!/usr/bin/env bash
# What Apache Kafka's own tools say about groups of both protocols, with ids, times and ports taken out, so that two brokers
# can be compared. Usage: kafka_groups.sh BOOTSTRAP LIBS, where LIBS is the folder with Kafka's jars (scripts/kafka.sh).
# kafka_groups.expected is what Apache Kafka 4.1 prints.
set -uo pipefail
bootstrap=$1 libs=$2
work=$(mktemp -d)
members=()
stop_members() {
    for member in "${members[@]}"; do kill "$member" 2>/dev/null; wait "$member" 2>/dev/null; done
    members=()
}
trap 'stop_members; rm -rf "$work"' EXIT
tools=org.apache.kafka.tools
java_run() { timeout 60 java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -cp "$libs/*" "$@"; }

normalise() {
    sed -E \
        -e "s#$bootstrap#BOOTSTRAP#g; s#$work#WORK#g; s#/?127\.0\.0\.1#HOST#g; s#localhost:[0-9]+#HOST#g" \
        -e 's/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/ID/g; s/\b[A-Za-z0-9_-]{22}\b/ID/g' \
        -e 's/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.,]+Z?/TIME/g' \
        -e 's/(Valid states are:).*/\1 ALL/; /^\tat /d; /^\[.*(WARN|INFO)/d; /^SLF4J/d; s/[[:space:]]+/ /g; s/ $//; /^$/d' | sort
}
# run NAME CLASS ARGUMENTS…: what it prints, line by line in order, and how it ends.
run() {
    echo "## $1"
    java_run "$2" --bootstrap-server "$bootstrap" "${@:3}" 2>&1 | normalise
    echo "exit ${PIPESTATUS[0]}"
}
groups() { run "$1" $tools.consumer.group.ConsumerGroupCommand "${@:2}"; }
all_groups() { run "$1" $tools.GroupsCommand "${@:2}"; }
configs() { run "$1" kafka.admin.ConfigCommand "${@:2}"; }
consume() { # GROUP PROTOCOL TOPIC COUNT
    java_run $tools.consumer.ConsoleConsumer --bootstrap-server "$bootstrap" --topic "$3" --group "$1" --from-beginning \
        --consumer-property group.protocol="$2" --max-messages "$4" --timeout-ms 20000 2>/dev/null | sort
}
# A member that stays until `stop_members`, once it has committed where it is.
join() { # GROUP PROTOCOL TOPIC
    java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -cp "$libs/*" $tools.consumer.ConsoleConsumer \
        --bootstrap-server "$bootstrap" --topic "$3" --group "$1" --consumer-property group.protocol="$2" \
        --consumer-property client.id=member --consumer-property auto.commit.interval.ms=200 >/dev/null 2>&1 &
    members+=($!)
    for _ in $(seq 20); do
        java_run $tools.consumer.group.ConsumerGroupCommand --bootstrap-server "$bootstrap" --describe --offsets --group "$1" \
            2>/dev/null | grep -Eq "^$1 +$3 +0 +[0-9]+ " && return
    done
    echo "the member of $1 did not join and commit"
}

for topic in first:2 second:1; do
    java_run $tools.TopicCommand --bootstrap-server "$bootstrap" --create --topic "${topic%:*}" --partitions "${topic#*:}" >/dev/null
    for key in a b c d e; do echo "$key:value $key"; done | java_run $tools.ConsoleProducer --bootstrap-server "$bootstrap" \
        --topic "${topic%:*}" --property parse.key=true --property key.separator=: >/dev/null 2>&1
done
echo "## consume with either protocol"
consume old classic first 5
consume new consumer first 5
consume new consumer second 5

groups "list" --list
groups "list with states" --list --state
groups "list with types" --list --type
groups "list both" --list --state --type
groups "list stable ones" --list --state stable
groups "list by type" --list --type consumer
groups "list by a bad state" --list --state nonsense
all_groups "all groups" --list
all_groups "all groups of a type" --list --group-type classic
all_groups "all consumer groups" --list --consumer
all_groups "all groups of a protocol" --list --protocol consumer

join live consumer first
join live-old classic first
for group in live live-old new nobody; do
    groups "offsets of $group" --describe --group $group --offsets
    groups "members of $group" --describe --group $group --members
    groups "members of $group in full" --describe --group $group --members --verbose
    groups "state of $group" --describe --group $group --state
done
groups "state of live in full" --describe --group live --state --verbose
groups "offsets of live in full" --describe --group live --offsets --verbose
groups "list while members are there" --list --state --type
for group in live live-old; do
    groups "reset $group with members" --reset-offsets --group $group --topic first --to-earliest --execute
    groups "delete $group with members" --delete --group $group
    groups "delete offsets that $group reads" --delete-offsets --group $group --topic first
    groups "delete offsets that $group does not read" --delete-offsets --group $group --topic second
done
stop_members

groups "to the earliest, as a trial" --reset-offsets --group new --topic first --to-earliest --dry-run
groups "to the earliest" --reset-offsets --group new --topic first --to-earliest --execute
groups "to the latest" --reset-offsets --group new --topic first --to-latest --execute
groups "to an offset" --reset-offsets --group new --topic second --to-offset 1 --execute
groups "to an offset that is not there" --reset-offsets --group new --topic second --to-offset 99 --execute
groups "on by two" --reset-offsets --group new --topic second --shift-by 2 --execute
groups "back by one" --reset-offsets --group new --topic first:0 --shift-by -1 --execute
groups "to a time" --reset-offsets --group new --topic second --to-datetime 2020-01-01T00:00:00.000 --execute
groups "by a duration" --reset-offsets --group new --topic second --by-duration PT0S --execute
groups "where they are" --reset-offsets --group new --all-topics --to-current --execute
groups "of a new group" --reset-offsets --group made --topic first --to-earliest --execute
printf 'first,0,1\nfirst,1,0\n' >"$work/plan.csv"
groups "from a file" --reset-offsets --group new --from-file "$work/plan.csv" --execute
groups "as a file" --reset-offsets --group new --topic first --to-earliest --dry-run --export
groups "offsets after that" --describe --group new --offsets
groups "delete offsets" --delete-offsets --group new --topic second
groups "delete offsets of no such topic" --delete-offsets --group new --topic nothing
groups "delete offsets of no such group" --delete-offsets --group nobody --topic first
groups "offsets after the deletion" --describe --group new --offsets
groups "delete several" --delete --group new --group nobody
groups "delete the rest" --delete --all-groups
groups "list after that" --list

configs "set a group's config" --alter --entity-type groups --entity-name new --add-config consumer.session.timeout.ms=50000
configs "describe a group's configs" --describe --entity-type groups --entity-name new
configs "set an unknown config of a group" --alter --entity-type groups --entity-name new --add-config no.such=1
configs "set a session that is too short" --alter --entity-type groups --entity-name new --add-config consumer.session.timeout.ms=1
configs "take a group's config away" --alter --entity-type groups --entity-name new --delete-config consumer.session.timeout.ms
