"""Nodes in network namespaces of their own, on one bridge with the clients; any direction between any two can be cut.

Nothing here has a name that outlives the process: check.sh has put the run into namespaces of its own.
"""

import itertools
import subprocess

CLIENTS = 0


def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


class Network:
    def __init__(self, nodes):
        self.nodes, self.holders = nodes, {}
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "bridge", "type", "bridge")
        run("ip", "link", "set", "bridge", "address", self.mac(CLIENTS))
        run("ip", "address", "add", f"{self.address(CLIENTS)}/24", "dev", "bridge")
        run("ip", "link", "set", "bridge", "up")
        for node in nodes:
            holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"], stdout=subprocess.PIPE)
            holder.stdout.readline()
            self.holders[node] = holder
            run("ip", "link", "add", f"node{node}", "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
            run("ip", "link", "set", f"node{node}", "master", "bridge", "up")
            inside = self.prefix(node)
            run(*inside, "ip", "link", "set", "lo", "up")
            run(*inside, "ip", "link", "set", "eth0", "address", self.mac(node))
            run(*inside, "ip", "address", "add", f"{self.address(node)}/24", "dev", "eth0")
            run(*inside, "ip", "link", "set", "eth0", "up")
        self.heal()

    def address(self, member):
        return f"10.90.0.{member or 254}"

    def mac(self, member):
        return f"02:00:00:00:01:{member or 254:02x}"

    def prefix(self, member):
        """What makes a command run where a member is."""
        return [] if member == CLIENTS else ["nsenter", "-t", str(self.holders[member].pid), "-n"]

    def _aim(self, sender, receiver, mac):
        device = "bridge" if sender == CLIENTS else "eth0"
        run(*self.prefix(sender), "ip", "neighbour", "replace", self.address(receiver), "lladdr", mac, "dev", device, "nud", "permanent")

    def cut(self, sender, receiver):
        """What `sender` says to `receiver` is lost from now on, without a word: it goes to an address that nobody has."""
        self._aim(sender, receiver, "02:00:00:00:02:00")

    def cut_both(self, one, other):
        self.cut(one, other)
        self.cut(other, one)

    def heal(self):
        for sender, receiver in itertools.permutations([CLIENTS, *self.nodes], 2):
            self._aim(sender, receiver, self.mac(receiver))

    def stop(self):
        for holder in self.holders.values():
            holder.kill()
            holder.wait()
