"""systemd/drupelet.service under a real systemd on arm64: user, capability, notification, watchdog, limits.

The system is extracted from Debian's packages, nothing of it is run before it boots in QEMU. Its console unit is our shell.
"""
import os, subprocess, time

import machine

CONSOLE = """[Unit]
After=sysinit.target
[Service]
ExecStart=/bin/bash -c 'stty -echo -onlcr; echo "machine: up"; bash --norc --noprofile 2>&1 | cat'
StandardInput=tty-force
StandardOutput=tty
TTYPath=/dev/ttyAMA0
[Install]
WantedBy=multi-user.target
"""
POD = "var/log/pods/shop_web-0_11111111-2222-4333-8444-555555555555/web"
LINES = 1000
MASKED = "systemd-firstboot.service getty@tty1.service serial-getty@ttyAMA0.service systemd-timesyncd.service".split()
CAP_DAC_READ_SEARCH = "0000000000000004"


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)


def system(root, here, binary):
    """What a Debian package would bring: see the head of the unit."""
    for name in ("passwd", "group"):
        subprocess.run(["install", "-m", "644", root + "/usr/share/base-passwd/%s.master" % name, root + "/etc/" + name], check=True)
    for name in ("machine-id", "fstab"):
        write(root + "/etc/" + name, "")
    write(root + "/etc/hostname", "pi-vm\n")
    units = here + "/../../systemd/"
    for source, target in (("drupelet.service", "etc/systemd/system/drupelet.service"), ("drupelet.sysusers", "usr/lib/sysusers.d/drupelet.conf"),
                           ("drupelet.tmpfiles", "usr/lib/tmpfiles.d/drupelet.conf"), ("drupelet.yaml", "etc/drupelet/drupelet.yaml")):
        subprocess.run(["install", "-D", "-m", "644", units + source, root + "/" + target], check=True)
    subprocess.run(["install", "-m", "755", binary, root + "/usr/bin/drupelet"], check=True)
    write(root + "/etc/systemd/system/console.service", CONSOLE)
    # So that the watchdog can be waited for.
    write(root + "/etc/systemd/system/drupelet.service.d/test.conf", "[Service]\nWatchdogSec=8s\n")
    wants = root + "/etc/systemd/system/multi-user.target.wants"
    os.makedirs(wants, exist_ok=True)
    for name in ("drupelet", "console"):
        os.symlink("../%s.service" % name, wants + "/%s.service" % name)
    for name in MASKED:
        path = root + "/etc/systemd/system/" + name
        if os.path.lexists(path):
            os.unlink(path)
        os.symlink("/dev/null", path)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - 60))
    log = "".join("%s.%09dZ stdout F hello %d\n" % (stamp, n, n) for n in range(LINES))
    write(root + "/" + POD + "/0.log", log, 0o640)
    os.chmod(root + "/var/log/pods", 0o750)


def verify(root):
    subprocess.run(["systemd-analyze", "verify", "--root=" + root, "--man=no", "drupelet.service"], check=True)
    subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", root + "/etc/systemd/system/drupelet.service"],
                   check=True, stdout=subprocess.DEVNULL)


class Unit:
    def __init__(self, m):
        self.m = m

    def show(self, *names):
        out = self.m.run("systemctl show drupelet -p " + ",".join(names))
        return dict(x.split("=", 1) for x in out.split("\n") if "=" in x)

    def status(self):
        pid = self.show("MainPID")["MainPID"]
        out = self.m.run("cat /proc/%s/status" % pid)
        return pid, {k: v.strip() for k, v in (x.split(":", 1) for x in out.split("\n") if ":" in x)}

    def wait(self, what, probe, limit=90):
        end = time.monotonic() + limit
        while not probe():
            if time.monotonic() > end:
                raise machine.Failed("never: %s\n%s" % (what, self.m.run("systemctl status drupelet --no-pager -l; journalctl -u drupelet --no-pager -n 30", check=False)[1]))
            time.sleep(0.3)

    def active(self):
        state = self.show("ActiveState", "SubState")
        return state == {"ActiveState": "active", "SubState": "running"}

    def counted(self):
        _, out = self.m.run("drupelet query --output raw 'sum(count_over_time({namespace=\"shop\"}[1h]))'", check=False)
        return out == str(LINES)


def check(a, tmp, say):
    here = os.path.dirname(os.path.abspath(__file__))
    root, disk = tmp + "/root", tmp + "/system"
    os.makedirs(root)
    subprocess.run(["tar", "-xf", a.work + "/rootfs.tar", "-C", root], check=True)
    system(root, here, a.bin)
    verify(root)
    say("systemd-analyze: verify is clean, exposure at most 2.0")
    with open(disk, "wb") as f:
        f.truncate(700 << 20)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", root, disk], check=True)
    with machine.Machine(a.work, "kernel-cloud-arm64", "cortex-a72", ["cache=unsafe,file=" + disk], root=True,
                         append="systemd.show_status=0") as m:
        say("%s up after %.1f s" % (m.run("systemctl --version").split("\n")[0], m.uptime))
        inside(m, Unit(m), say)


def inside(m, unit, say):
    unit.wait("active by READY=1", unit.active)
    assert unit.show("StatusText")["StatusText"].startswith("listening on"), unit.show("StatusText")
    _, status = unit.status()
    uid = m.run("id -u drupelet")
    found = (set(status["Uid"].split()), status["CapEff"], status["CapBnd"], status["CapAmb"], status["NoNewPrivs"], status["Seccomp"])
    wanted = ({uid}, CAP_DAC_READ_SEARCH, CAP_DAC_READ_SEARCH, CAP_DAC_READ_SEARCH, "1", "2")
    assert found == wanted and uid != "0", (found, uid)
    say("active, uid %s, exactly CAP_DAC_READ_SEARCH, no new privileges, seccomp" % uid)
    unit.wait("the lines of a root-owned file", unit.counted)
    assert m.run("stat -c '%U %a' /var/log/pods /" + POD + "/0.log").split() == ["root", "750", "root", "640"]
    log = m.run("journalctl -u drupelet --no-pager -o cat")
    assert "reader=uring" in log, log
    assert "level=warn" not in log and "level=error" not in log, log
    limits = unit.show("MemoryCurrent", "MemoryMax", "MemoryHigh")
    assert limits["MemoryMax"] == str(128 << 20) and limits["MemoryCurrent"].isdigit(), limits
    say("%d lines read with io_uring and found; resident %s, MemoryCurrent %.1f MiB of %d" % (
        LINES, status["VmRSS"], int(limits["MemoryCurrent"]) / 2 ** 20, 128))
    m.run("systemctl restart drupelet", 60)
    unit.wait("the same lines after a restart", unit.counted)
    say("restarted, the same lines")
    before, _ = unit.status()
    m.run("kill -STOP " + before)
    unit.wait("killed by the watchdog and started again", lambda: unit.show("NRestarts")["NRestarts"] == "1" and unit.active())
    assert unit.status()[0] != before
    unit.wait("the same lines after the watchdog", unit.counted)
    assert "Watchdog timeout" in m.run("journalctl -u drupelet --no-pager -o cat"), "not the watchdog's doing"
    say("stopped by SIGSTOP: killed by the watchdog, started again, the same lines")
    began = time.monotonic()
    m.run("systemctl stop drupelet", 60)
    state = unit.show("ActiveState", "Result", "ExecMainStatus")
    assert state == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}, state
    say("stopped in good order after %.1f s" % (time.monotonic() - began))
    assert not m.run("systemctl --failed --no-legend --plain"), "failed units"
