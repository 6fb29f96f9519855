"""A file system of its own for each node, which can lose its power and be full; and system calls that fail or take long."""

import errno
import fcntl
import os
import struct
import subprocess

EXT4_IOC_SHUTDOWN, NOLOGFLUSH = 0x8004587D, 2


class Disk:
    """An ext4 in a sparse file, mounted on a folder."""

    def __init__(self, folder, size):
        self.folder, self.image, self.filler = folder, folder + ".ext4", os.path.join(folder, "filler")
        os.makedirs(folder, exist_ok=True)
        with open(self.image, "wb") as file:
            file.truncate(size)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", self.image], check=True)
        self._mount()

    def _mount(self):
        subprocess.run(["mount", "-o", "loop", self.image, self.folder], check=True)

    def power_off(self):
        """From here on nothing reaches the disk. Whoever uses it has to be killed before it has power again."""
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(folder)

    def power_on(self):
        self.unmount()
        self._mount()

    def unmount(self):
        subprocess.run(["umount", self.folder], check=True)

    def fill(self, left=0):
        """Takes all room but `left` bytes."""
        room = os.statvfs(self.folder)
        file = os.open(self.filler, os.O_CREAT | os.O_WRONLY)
        try:
            os.posix_fallocate(file, 0, max(1, room.f_bavail * room.f_frsize - left))
        except OSError as error:
            # Servers write meanwhile; what could be taken is taken.
            if error.errno != errno.ENOSPC:
                raise
        finally:
            os.close(file)

    def empty(self):
        if os.path.exists(self.filler):
            os.remove(self.filler)


class Injection:
    """System calls of a process that fail or take long, until it is stopped (strace attaches to the process while it runs)."""

    def __init__(self, pid, call, what):
        self.tracer = subprocess.Popen(
            ["strace", "-f", "-qq", "-p", str(pid), "-e", "signal=none", "-e", f"trace={call}", "-e", f"inject={call}:{what}",
             "-o", "/dev/null"],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        self.tracer.terminate()
        self.tracer.wait()
