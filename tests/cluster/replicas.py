"""The replicas of partitions as their nodes have them on disk, held against each other byte by byte."""

import glob
import hashlib
import os
import re
import struct

HEADER = struct.Struct(">qi")


def partitions(folder):
    """The names of the partitions of a data folder, but not the metadata's."""
    names = [os.path.basename(os.path.dirname(path)) for path in glob.glob(os.path.join(folder, "*-*", "*.log"))]
    return sorted({name for name in names if re.fullmatch(r"[\w.-]+-\d+", name) and not name.startswith("__cluster_metadata")})


def batches(folder):
    """{base offset: digest of the batch} of one replica. What follows the last batch is room for more."""
    found = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.log"))):
        with open(path, "rb") as file:
            data = file.read()
        at = 0
        while at + HEADER.size <= len(data):
            base, length = HEADER.unpack_from(data, at)
            if length <= 0 or at + HEADER.size + length > len(data):
                break
            found[base] = hashlib.blake2b(data[at : at + HEADER.size + length], digest_size=8).digest()
            at += HEADER.size + length
    return found


def divergence(replicas, until):
    """What differs between {node: batches} before the offset `until`, or None. Without an end, as far as all of them reach."""
    if until is None:
        until = min((max(each, default=-1) + 1 for each in replicas.values()), default=0)
    begin = max((min(each, default=0) for each in replicas.values()), default=0)
    offsets = sorted({offset for each in replicas.values() for offset in each if begin <= offset < until})
    for offset in offsets:
        digests = {node: each.get(offset) for node, each in replicas.items()}
        if len(set(digests.values())) > 1:
            told = ", ".join(f"node {node} {digest.hex() if digest else 'nothing'}" for node, digest in digests.items())
            return f"the batch at offset {offset} (of those before {until}): {told}"
    return None


def divergences(folders, ends):
    """Of all partitions that are on several nodes; `folders` by node, `ends` where partitions are known to end."""
    places = {node: set(partitions(folder)) for node, folder in folders.items()}
    for partition in sorted(set().union(*places.values())):
        replicas = {
            node: batches(os.path.join(folders[node], partition)) for node, names in places.items() if partition in names
        }
        found = divergence(replicas, ends.get(partition))
        if found:
            yield f"{partition}: {found}"
