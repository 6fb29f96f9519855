#!/usr/bin/env bash
# What Apache Kafka's own tools say about access control entries, users and quotas, so that two brokers can be compared; both
# must have the StandardAuthorizer and User:ANONYMOUS among their super users. Usage: kafka_security.sh BOOTSTRAP LIBS,
# where LIBS is the folder with Kafka's jars (scripts/kafka.sh). kafka_security.expected is what Apache Kafka 4.1 prints.
set -uo pipefail
bootstrap=$1 libs=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tools=org.apache.kafka.tools
java_run() { timeout 60 java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -cp "$libs/*" "$@"; }

normalise() {
    sed -E \
        -e "s#$bootstrap#BOOTSTRAP#g; s#$work#WORK#g; s#localhost:[0-9]+#HOST#g" \
        -e '/^\tat /d; /^\[.*(WARN|INFO)/d; /^SLF4J/d; s/[[:space:]]+/ /g; s/ $//; /^$/d' | sort
}
# run NAME CLASS ARGUMENTS…: what it prints, line by line in order, and how it ends.
run() {
    echo "## $1"
    java_run "$2" --bootstrap-server "$bootstrap" "${@:3}" 2>&1 | normalise
    echo "exit ${PIPESTATUS[0]}"
}
acls() { run "$1" $tools.AclCommand "${@:2}"; }
configs() { run "$1" kafka.admin.ConfigCommand "${@:2}"; }

acls "list none" --list
acls "allow" --add --allow-principal User:alice --operation Read --operation Describe --topic paid
acls "allow by a prefix" --add --allow-principal User:bob --operation Write --topic pa --resource-pattern-type prefixed
acls "allow everybody everything" --add --allow-principal 'User:*' --operation All --group '*'
acls "deny from a host" --add --deny-principal User:eve --deny-host 10.1.2.3 --operation All --topic '*'
acls "allow a producer" --add --allow-principal User:carol --producer --topic paid
acls "allow an idempotent producer" --add --allow-principal User:carol --producer --idempotent --topic paid
acls "allow a consumer" --add --allow-principal User:carol --consumer --topic paid --group readers
acls "allow a transactional producer" --add --allow-principal User:carol --producer --transactional-id carol --topic paid
acls "allow on the cluster" --add --allow-principal User:dave --operation Alter --cluster
acls "allow about a user" --add --allow-principal User:dave --operation CreateTokens --user-principal User:erin
acls "allow no principal" --add --allow-principal dave --operation Read --topic paid
acls "list all" --list
acls "list of a topic" --list --topic paid
acls "list what matches a topic" --list --topic paid --resource-pattern-type match
acls "list of a principal" --list --principal User:carol
acls "list of a group" --list --group readers
acls "list of a transactional id" --list --transactional-id carol
acls "list of the cluster" --list --cluster
acls "remove one" --remove --force --allow-principal User:alice --operation Read --topic paid
acls "remove what is not there" --remove --force --allow-principal User:nobody --operation Read --topic paid
acls "remove by a prefix" --remove --force --topic pa --resource-pattern-type prefixed
acls "remove all of a topic" --remove --force --topic paid
acls "list what is left" --list

configs "give a user a password" --alter --entity-type users --entity-name alice --add-config 'SCRAM-SHA-256=[iterations=8192,password=secret]'
configs "with too few iterations" --alter --entity-type users --entity-name alice --add-config 'SCRAM-SHA-256=[iterations=1000,password=secret]'
configs "with another mechanism" --alter --entity-type users --entity-name alice --add-config 'SCRAM-SHA-512=[password=secret]'
configs "with a mechanism that there is not" --alter --entity-type users --entity-name alice --add-config 'SCRAM-SHA-1=[password=secret]'
# Kafka tells the mechanisms in no order.
configs "describe a user" --describe --entity-type users --entity-name alice |
    sed -E 's/(SCRAM-SHA-512=[^,]*), (SCRAM-SHA-256=.*)/\2, \1/'
configs "describe a user that is not there" --describe --entity-type users --entity-name nobody
configs "take a password away" --alter --entity-type users --entity-name alice --delete-config SCRAM-SHA-512
configs "take a password away again" --alter --entity-type users --entity-name alice --delete-config SCRAM-SHA-512
configs "quota of a user" --alter --entity-type users --entity-name alice --add-config producer_byte_rate=1024,consumer_byte_rate=2048
configs "quota of all users" --alter --entity-type users --entity-default --add-config request_percentage=50
configs "quota of a client" --alter --entity-type clients --entity-name loader --add-config controller_mutation_rate=10
configs "quota of a user's client" --alter --entity-type users --entity-name alice --entity-type clients --entity-name loader --add-config producer_byte_rate=1
configs "quota of a user's clients" --alter --entity-type users --entity-name alice --entity-type clients --entity-default --add-config producer_byte_rate=2
configs "quota of an address" --alter --entity-type ips --entity-name 127.0.0.1 --add-config connection_creation_rate=100
configs "quota of all addresses" --alter --entity-type ips --entity-default --add-config connection_creation_rate=1000
configs "a quota that there is not" --alter --entity-type users --entity-name alice --add-config speed=1
configs "a quota below nothing" --alter --entity-type users --entity-name alice --add-config producer_byte_rate=-1
configs "a quota of an address that is none" --alter --entity-type ips --entity-name 'not an address' --add-config connection_creation_rate=1
configs "describe the quotas of a user" --describe --entity-type users --entity-name alice
configs "describe the quotas of all users" --describe --entity-type users
configs "describe the quotas of clients" --describe --entity-type clients
configs "describe the quotas of users and clients" --describe --entity-type users --entity-type clients
configs "describe the quotas of addresses" --describe --entity-type ips
configs "take a quota away" --alter --entity-type users --entity-name alice --delete-config consumer_byte_rate
configs "take a quota away that is not there" --alter --entity-type clients --entity-name loader --delete-config producer_byte_rate
configs "describe what is left" --describe --entity-type users --entity-name alice
