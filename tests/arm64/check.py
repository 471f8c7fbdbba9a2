"""What drupelet must show on arm64: usage in run.sh. Python standard library only.

  check.py node   --pages 4|16 ...   tails a tree with io_uring, answers, every line once, resident memory idle and at 500 lines/s
  check.py resets --pages 4|16 ...   power cuts while it tails, then every line that the log files still hold, once (P1)
  check.py unit ...                  the unit under systemd
"""
import argparse, collections, json, os, random, re, subprocess, sys, tarfile, tempfile, time
import urllib.error, urllib.parse, urllib.request, zlib

import disk, machine
import unit as systemd_unit

KERNELS = {4: ("kernel-cloud-arm64", "cortex-a72"), 16: ("kernel-arm64-16k", "cortex-a76")}
RECORD = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) ([PF]) ([^\0]*)")
EVERYTHING = '{namespace=~".+"}'
# Rows of the design, MiB of resident memory.
IDLE_MAX, BUSY_MAX = 10.0, 18.0
RATE, BUSY_SECONDS = 500, 40
FEW, TREE = 200, 30_000  # lines: of files that are only watched, and of a tree that is there at the start
START = ("(drupelet run --pods-dir /data/pods --data-dir /data/store --listen 0.0.0.0:3100 %s >>/data/log 2>&1 & echo $! >/tmp/pid)")
# Writes dirty pages out soon, so that the log files hold something when the power goes: lines that no segment has yet, too.
EAGER = "echo 100 >/proc/sys/vm/dirty_writeback_centisecs; echo 100 >/proc/sys/vm/dirty_expire_centisecs"


def say(text):
    print("[%6.1f s] %s" % (time.monotonic() - BEGAN, text), flush=True)


def image(path, mib, content=None):
    with open(path, "wb") as f:
        f.truncate(mib << 20)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4"] + (["-d", content] if content else []) + [path], check=True)


def until(what, probe, limit=120):
    end = time.monotonic() + limit
    while True:
        got = probe()
        if got:
            return got
        if time.monotonic() > end:
            raise machine.Failed("gave up after %d s: %s" % (limit, what))
        time.sleep(0.2)


class Node:
    """drupelet in a machine, asked over its forwarded port."""

    def __init__(self, m):
        self.m = m

    def start(self, flags):
        self.m.run(START % flags)
        return self.ready()

    def ready(self):
        def probe():
            try:
                return self.get("/ready") is not None
            except (urllib.error.URLError, OSError):
                return False
        until("drupelet answers /ready", probe)
        return self

    def get(self, path, **parameters):
        url = "http://127.0.0.1:%d%s?%s" % (self.m.port, path, urllib.parse.urlencode(parameters))
        with urllib.request.urlopen(url, timeout=60) as r:
            return r.read().decode()

    def metric(self, name):
        lines = [x for x in self.get("/metrics").split("\n") if x.startswith(name)]
        return sum(float(x.rsplit(" ", 1)[1]) for x in lines)

    def count(self):
        answer = json.loads(self.get("/loki/api/v1/query", query="sum(count_over_time(%s[24h]))" % EVERYTHING))
        result = answer["data"]["result"]
        return int(result[0]["value"][1]) if result else 0

    def lines(self):
        """Every line with how often it is there. The writer's times are unique, so pages begin behind the last one."""
        found, start = collections.Counter(), time.time_ns() - 86400 * 10 ** 9
        while True:
            answer = json.loads(self.get("/loki/api/v1/query_range", query=EVERYTHING, start=start, end=time.time_ns() + 3600 * 10 ** 9,
                                         limit=5000, direction="forward"))
            page = [v for stream in answer["data"]["result"] for v in stream["values"]]
            if not page:
                return found
            found.update(v[1] for v in page)
            start = max(int(v[0]) for v in page) + 1

    def resident(self):
        status = self.m.run("cat /proc/$(cat /tmp/pid)/status")
        field = {x.split(":")[0]: x.split()[1] for x in status.split("\n") if x.startswith(("Vm", "Rss"))}
        return {k: round(int(field[k]) / 1024, 2) for k in ("VmRSS", "VmHWM", "RssAnon", "RssFile", "RssShmem")}

    def stop(self):
        self.m.run("kill $(cat /tmp/pid); n=0; while [ -e /proc/$(cat /tmp/pid) ] && [ $n -lt 100 ]; do usleep 100000; n=$((n+1)); done; "
                   "grep -q msg=stopped /data/log")


def held(out):
    """The whole lines that the log files of a tar hold, records joined, and how many records are torn."""
    files = collections.defaultdict(list)
    with tarfile.open(out) as tar:
        for member in tar:
            if not member.isfile() or member.name.endswith(".tmp"):
                continue
            data = tar.extractfile(member).read()
            if member.name.endswith(".gz"):
                data = unzip(data)
            place, name = os.path.split(member.name)
            generation, _, suffix = name.partition(".log")
            files[place, int(generation)].append((suffix == "", suffix, data))
    lines, torn = set(), 0
    for parts in files.values():
        chains = {}
        for _, _, data in sorted(parts):
            # A record without its line feed is the torn end of a file, whatever it looks like: often it ends in NULs.
            whole, _, rest = data.rpartition(b"\n")
            torn += bool(rest.strip(b"\0"))
            for record in whole.split(b"\n"):
                fields = RECORD.fullmatch(record)
                if not fields:
                    # ext4 may keep a file's size and leave a hole in it; the rest of such a record is no line.
                    torn += bool(record.strip(b"\0"))
                    chains.clear()
                    continue
                stream, tag, text = fields.groups()
                text = chains.pop(stream, b"") + text
                if tag == b"P":
                    chains[stream] = text
                else:
                    lines.add(text.decode())
    return lines, torn


def unzip(data):
    try:
        return zlib.decompressobj(31).decompress(data)
    except zlib.error:
        return b""  # torn by a power cut: nothing of it counts as held


def compare(node, out, what):
    """Every line that the files hold is there, nothing is there twice. Waits for what is still to be read."""
    node.m.run("sync; tar -cf /dev/vdb -C /data/pods . && sync", 120)
    wanted, torn = held(out)
    last = []

    def probe():
        found = node.lines()
        last[:] = [found]
        return not wanted - set(found)
    try:
        until("all lines", probe, 60)
    except machine.Failed:
        pass
    found = last[0]
    lost, repeated = wanted - set(found), {line: n for line, n in found.items() if n > 1}
    say("%s: files hold %d lines (%d torn records), %d found (%d that the files lost), %d lost, %d repeated"
        % (what, len(wanted), torn, sum(found.values()), len(set(found) - wanted), len(lost), len(repeated)))
    if lost or repeated or not wanted:
        for line in sorted(lost)[:10]:
            print("  lost", line)
        for line in sorted(repeated)[:10]:
            print("  %d times" % repeated[line], line)
        raise machine.Failed("%s: not exactly once\n%s" % (what, node.m.run("tail -20 /data/log")))
    return len(wanted)


def node(a):
    kernel, cpu = KERNELS[a.pages]
    data, out = TMP + "/data", TMP + "/out"
    os.makedirs(TMP + "/root/bin")
    os.makedirs(TMP + "/root/pods")
    subprocess.run(["cp", a.bin, TMP + "/root/bin/drupelet"], check=True)  # on ext4, so that its pages are counted as a file's
    image(data, 256, TMP + "/root")
    image(out, 64)
    files = {"bin/writer": a.writer}
    # One of the two machines is as Raspberry Pi firmware starts Linux.
    limits = a.pages == 4
    with machine.Machine(a.work, kernel, cpu, ["cache=writeback,file=" + data, "cache=writeback,file=" + out], files,
                         append="" if limits else "cgroup_disable=memory") as m:
        m.run("ln -s /data/bin/drupelet /bin/drupelet; mount -t cgroup2 none /sys/fs/cgroup")
        say("Linux %s, %d KiB pages, %s, up after %.1f s" % (m.run("uname -r"), a.pages, cpu, m.uptime))
        m.run("writer /data/pods 0 --lines %d" % FEW)
        n = Node(m).start("")
        until("the first lines", lambda: n.count() == FEW)
        m.run("sleep 5")  # at rest, which is what is measured
        idle = n.resident()
        say("at rest, 50 files: %s" % idle)
        n.stop()
        say("tree: " + m.run("writer /data/pods 1 --lines %d" % TREE, 120))
        n.start("")
        log = m.run("cat /data/log")
        if "reader=uring" not in log:
            raise machine.Failed("io_uring is not in use:\n" + log)
        assert ("no memory control group" in log) != limits, log
        until("the tree", lambda: n.count() == FEW + TREE)
        after = n.resident()
        compare(n, out, "tree in 50 files, read with io_uring")
        answer = m.run("drupelet query --output raw 'sum(count_over_time(%s[24h]))'" % EVERYTHING)
        assert answer == str(FEW + TREE), answer
        newest = m.run("drupelet query --output raw --limit 1 '%s |= \"seq=1:7:\"'" % EVERYTHING)
        assert "seq=1:7:" in newest, newest
        doctor = m.run("drupelet doctor --pods-dir /data/pods --data-dir /data/store")
        assert "page size" in doctor and "%d KiB" % a.pages in doctor, doctor
        m.run("(writer /data/pods 2 --rate %d --lines %d --rotate 1000 >/tmp/wrote 2>&1 &)" % (RATE, RATE * BUSY_SECONDS))
        busy = [n.resident()]

        def wrote_all():
            time.sleep(1.8)
            busy.append(n.resident())
            return m.run("cat /tmp/wrote")
        wrote = dict(x.split("=") for x in until("the writer ends", wrote_all, BUSY_SECONDS * 4).split())
        rate = float(wrote["lines"]) / float(wrote["seconds"])
        top = max(busy, key=lambda r: r["VmRSS"])
        say("at %.0f lines/s (%d asked): %s" % (rate, RATE, top))
        until("all lines", lambda: n.count() == FEW + TREE + RATE * BUSY_SECONDS)
        compare(n, out, "live with rotation")
        end = n.resident()
        n.stop()
        m.power_off()
    record = {"pages_kib": a.pages, "cpu": cpu, "binary_bytes": os.path.getsize(a.bin), "idle_mib": idle,
              "tree_read_mib": after, "lines_per_second": round(rate), "busy_mib": top, "after_reading_all_mib": end}
    print(json.dumps(record), flush=True)
    if idle["VmRSS"] > IDLE_MAX or top["VmRSS"] > BUSY_MAX:
        raise machine.Failed("resident memory over %.0f MiB idle or %.0f MiB busy" % (IDLE_MAX, BUSY_MAX))


def resets(a):
    kernel, cpu = KERNELS[a.pages]
    rng = random.Random(a.seed)
    data, out = TMP + "/data", TMP + "/out"
    os.makedirs(TMP + "/root/pods")
    image(data, 192, TMP + "/root")
    image(out, 64)
    say("%d power cuts, %d KiB pages, seed %d" % (a.resets, a.pages, a.seed))
    files = {"bin/writer": a.writer, "bin/drupelet": a.bin}
    total = 0
    for turn in range(a.resets + 1):
        volatile = disk.Disk(data, TMP + "/nbd")
        drives = ["file=nbd+unix:///?socket=" + TMP + "/nbd", "cache=writeback,file=" + out]
        with machine.Machine(a.work, kernel, cpu, drives, files) as m:
            # A short life has several segments; a longer interval leaves lines that only the log files hold.
            m.run("%s; echo flush_interval: %ds >/tmp/config.yaml" % (EAGER, rng.choice([1, 3, 6])))
            n = Node(m).start("--config /tmp/config.yaml")
            if turn:
                total = compare(n, out, "after cut %d" % turn)
            if turn == a.resets:
                n.stop()
                m.power_off("umount /data; poweroff -f")
                volatile.close()
                break
            m.run("(writer /data/pods %d --rate 400 --rotate 60 >/data/wrote 2>&1 &)" % (turn + 1))
            segments = n.metric("drupelet_store_flushes_total")
            until("a segment while it tails", lambda: n.metric("drupelet_store_flushes_total") > segments)
            # Not for synchronisation: the instant is meant to be arbitrary.
            time.sleep(rng.random() * 5)
            assert not m.run("cat /data/wrote"), "the writer has ended"
            m.kill()
        keep = rng.choice([0.0, 0.5, 0.9])
        volatile.cut(rng, keep)
        say("cut %d: of the sectors written but not flushed %d kept, %d lost" % (turn + 1, volatile.kept, volatile.lost))
    fsck = subprocess.run(["e2fsck", "-fn", data], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if fsck.returncode != 0:
        raise machine.Failed("the file system itself is damaged:\n" + fsck.stdout)
    print(json.dumps({"pages_kib": a.pages, "power_cuts": a.resets, "seed": a.seed, "lines_held": total, "lost": 0, "repeated": 0}), flush=True)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("what", choices=["node", "resets", "unit"])
    ap.add_argument("--work", required=True)
    ap.add_argument("--bin", required=True)
    ap.add_argument("--writer", required=True)
    ap.add_argument("--pages", type=int, choices=KERNELS, default=4)
    ap.add_argument("--resets", type=int, default=5)
    ap.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10 ** 6))
    a = ap.parse_args()
    {"node": node, "resets": resets, "unit": lambda a: systemd_unit.check(a, TMP, say)}[a.what](a)


if __name__ == "__main__":
    BEGAN = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="drupelet-arm64-") as TMP:
        try:
            main()
        except (machine.Failed, AssertionError) as e:
            sys.exit("FAILED: %s" % e)
