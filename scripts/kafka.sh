#!/usr/bin/env bash
# Puts the jars of an Apache Kafka release with its command-line tools under $OTTLA_CACHE (default ~/.cache/ottla),
# from Maven Central, and prints their folder. Installs Java and Maven from Debian where they are missing.
#   scripts/kafka.sh [VERSION]
set -euo pipefail
version=${1:-4.1.0}
home=${OTTLA_CACHE:-$HOME/.cache/ottla}/kafka-$version
if [ ! -d "$home/tools" ]; then
    command -v java >/dev/null && command -v mvn >/dev/null || {
        apt-get update -qq
        apt-get install -y -qq default-jre-headless maven
    } >&2
    work=$(mktemp -d)
    cat >"$work/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ottla</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
POM
    mkdir -p "$home"
    rm -rf "$home/tools.new"
    mvn -q -B -f "$work/pom.xml" dependency:copy-dependencies -DoutputDirectory="$home/tools.new" >&2
    mv "$home/tools.new" "$home/tools"
    rm -rf "$work"
fi
echo "$home/tools"
