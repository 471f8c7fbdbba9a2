"""An arm64 machine in QEMU under a Debian kernel: disks, a forwarded port, and a shell on its console.

Boots an initramfs of busybox, a few kernel modules and the given files. With `root` it goes on with the system on that
image, whose own unit gives the shell. Python standard library only.
"""
import glob, io, lzma, os, select, socket, subprocess, tempfile, time

# In the order in which they load; what a kernel has built in is not loaded.
MODULES = "crc16 crc32c_generic libcrc32c mbcache jbd2 ext4 failover net_failover virtio_net virtio_blk".split()
SERIAL = "ttyAMA0"
INIT = r"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
mkdir -p /proc /sys /dev /tmp /data
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev 2>/dev/null; mount -t tmpfs tmp /tmp
for m in $(cat /modules/order); do insmod /modules/$m.ko || echo "machine: insmod $m failed"; done
n=0; while [ ! -b /dev/vda ] && [ $n -lt 100 ]; do usleep 100000; n=$((n+1)); done
mount -t ext4 /dev/vda /data || echo "machine: no disk"
case "$(cat /proc/cmdline)" in *machine.root*)
  umount /tmp; umount -l /dev; umount -l /sys; umount -l /proc
  exec switch_root /data /sbin/init;;
esac
ip link set lo up; ip addr add 10.0.2.15/24 dev eth0; ip link set eth0 up
stty -echo -onlcr -F /dev/ttyAMA0
echo "machine: up"
PS1= PS2= exec sh </dev/ttyAMA0 2>&1 | cat >/dev/ttyAMA0
"""


class Failed(Exception):
    pass


def cpio(entries):
    """A newc archive of (name, mode, bytes), with the directories that they need."""
    out, made, number = io.BytesIO(), set(), [0]

    def record(name, mode, data=b"", device=(0, 0)):
        number[0] += 1
        name = name.encode() + b"\0"
        head = b"070701" + b"".join(b"%08X" % v for v in (
            number[0], mode, 0, 0, 1, 0, len(data), 0, 0, device[0], device[1], len(name), 0))
        out.write(head + name + b"\0" * (-(len(head) + len(name)) % 4))
        out.write(data + b"\0" * (-len(data) % 4))

    def directories(path):
        parent = os.path.dirname(path)
        if parent and parent not in made:
            directories(parent)
            made.add(parent)
            record(parent, 0o040755)

    directories("dev/console")
    record("dev/console", 0o020600, device=(5, 1))
    record("dev/null", 0o020666, device=(1, 3))
    for name, mode, data in entries:
        directories(name)
        record(name, 0o100000 | mode, data)
    record("TRAILER!!!", 0)
    return out.getvalue()


def read(path):
    with open(path, "rb") as f:
        return f.read()


def only(pattern):
    found = sorted(glob.glob(pattern, recursive=True))
    if not found:
        raise Failed("nothing matches " + pattern)
    return found[-1]


def initramfs(kernel, busybox, files):
    entries = [("init", 0o755, INIT.encode()), ("bin/busybox", 0o755, read(busybox))]
    built_in = read(only(kernel + "/lib/modules/*/modules.builtin")).decode()
    order = []
    for name in MODULES:
        found = glob.glob(kernel + "/lib/modules/*/kernel/**/" + name + ".ko*", recursive=True)
        if found:
            data = read(found[0])
            entries.append(("modules/" + name + ".ko", 0o644, lzma.decompress(data) if found[0].endswith(".xz") else data))
            order.append(name)
        elif "/" + name + ".ko" not in built_in and name in ("ext4", "virtio_net", "virtio_blk"):
            raise Failed("kernel without " + name)
    entries.append(("modules/order", 0o644, " ".join(order).encode()))
    entries += [(guest, 0o755, read(host)) for guest, host in files.items()]
    return cpio(entries)


class Machine:
    """`disks` are values of QEMU's -drive file=; the first holds /data, or the system when `root` is set."""

    def __init__(self, work, kernel, cpu, disks, files=None, root=False, forward=3100, append="", verbose=False):
        self.began, self.console, self.marks, self.verbose = time.monotonic(), b"", 0, verbose
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.tmp = tempfile.TemporaryDirectory(prefix="drupelet-machine-")
        with open(self.tmp.name + "/initrd", "wb") as f:
            f.write(initramfs(work + "/" + kernel, only(work + "/busybox*/bin/busybox"), files or {}))
        command = ["qemu-system-aarch64", "-M", "virt,gic-version=2", "-cpu", cpu, "-m", "512", "-smp", "2", "-display", "none",
                   "-monitor", "none", "-serial", "stdio", "-no-reboot", "-kernel", only(work + "/" + kernel + "/boot/vmlinuz-*"),
                   "-initrd", self.tmp.name + "/initrd", "-append",
                   "console=%s loglevel=3 panic=-1 rdinit=/init %s %s" % (SERIAL, "machine.root" if root else "", append),
                   "-netdev", "user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:%d-:%d" % (self.port, forward),
                   "-device", "virtio-net-pci,netdev=n0,romfile="]
        for i, disk in enumerate(disks):
            command += ["-drive", "if=none,id=d%d,format=raw,%s" % (i, disk), "-device", "virtio-blk-pci,drive=d%d" % i]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            self.wait_for(b"machine: up", 180)
        except BaseException:
            self.__exit__()
            raise
        self.uptime = time.monotonic() - self.began

    def wait_for(self, mark, limit):
        """Everything on the console up to `mark`, which is taken off too."""
        end = time.monotonic() + limit
        while mark not in self.console:
            left = end - time.monotonic()
            if left <= 0:
                raise Failed("no %r within %d s; console:\n%s" % (mark, limit, self.tail()))
            if select.select([self.process.stdout], [], [], min(left, 1))[0]:
                data = os.read(self.process.stdout.fileno(), 65536)
                if not data:
                    raise Failed("QEMU ended with %s; console:\n%s" % (self.process.wait(), self.tail()))
                self.console += data
                if self.verbose:
                    os.write(2, data)
        before, self.console = self.console.split(mark, 1)
        return before

    def tail(self):
        return self.console[-4000:].decode("utf-8", "replace")

    def run(self, command, limit=60, check=True):
        """Runs one line in the guest's shell; what it printed. Its exit status must be 0, unless `check` is off."""
        self.marks += 1
        mark = "@%d@" % self.marks
        line = "{ %s\n} 2>&1 </dev/null; echo \"@\"\"%d@$?;\"\n" % (command, self.marks)
        assert max(map(len, line.split("\n"))) < 3000, "a terminal takes at most 4095 characters in a line"
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()
        out = self.wait_for(mark.encode(), limit).decode("utf-8", "replace").replace("\r", "")
        status = int(self.wait_for(b";", 10))
        if check and status != 0:
            raise Failed("`%s` in the machine: exit status %d\n%s" % (command, status, out))
        return out.strip() if check else (status, out.strip())

    def kill(self):
        """The power cut, as far as the machine goes."""
        self.process.kill()
        self.process.wait()

    def power_off(self, command="poweroff -f"):
        self.process.stdin.write((command + "\n").encode())
        self.process.stdin.flush()
        self.process.wait(120)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.tmp.cleanup()
