"""Gigabytes of pod logs found at the first start, and a neighbour on the same file system that appends 4 KiB and
fdatasyncs ten times a second, as etcd and kine do: how much longer does it wait, is every line there, how much memory
did it take?

  python3 tests/scripts/neighbour.py target/release/drupelet [--gib 5] [--alone 60] [--rate 8MiB] [--check memory,time]

--alternate SECS: on a machine with other work the times of an hour ago say little. This stops the node (SIGSTOP) for as many
seconds after each so many of work, and compares the waits of the two.

Root: mounts an ext4 of its own on a loop device, and drops the page cache. The tree is kubelet's: five files of 10 MiB
for each container. --check: what makes it fail besides a wrong count, `memory` (peak above 32 MiB) and `time` (the 99th
percentile more than twice that of the neighbour alone, the higher of before and after).
"""
import argparse, json, os, re, shutil, signal, subprocess, sys, tempfile, threading, time, urllib.parse, urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT + "/benches")
import loopfs  # noqa: E402

FILE_BYTES, FILES, PEAK_MIB, RATIO = 10 << 20, 5, 32, 2.0


class Neighbour:
    """Appends and syncs on a thread; waits are in seconds."""

    def __init__(self, path):
        self.aside = []
        self.path, self.waits, self.stop = path, [], threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        block = os.urandom(4096)
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        due = time.monotonic()
        while not self.stop.is_set():
            t0 = time.monotonic()
            # `waits` changes when the node is stopped or goes on; a wait belongs to where it began.
            waits = self.waits
            os.write(fd, block)
            os.fdatasync(fd)
            waits.append(time.monotonic() - t0)
            due = max(due + 0.1, time.monotonic())
            time.sleep(max(0, due - time.monotonic()))
        os.close(fd)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def p(self, q):
        waits = sorted(self.waits)
        return 1e3 * waits[min(len(waits) - 1, int(len(waits) * q))]

    def show(self, what):
        print("%-12s %6d syncs  median %7.2f ms  p99 %7.2f ms  max %7.2f ms" % (
            what, len(self.waits), self.p(0.5), self.p(0.99), 1e3 * max(self.waits)), flush=True)


def alone(path, secs):
    with Neighbour(path) as n:
        time.sleep(secs)
    return n


def make_tree(tmp, pods, gib):
    """Containers made of fifty base ones, each file the base's lines again and again; lines by pod."""
    base = tmp + "/base"
    subprocess.run([sys.executable, ROOT + "/benches/workload.py", "tree", "--mib", "24", "--hours", "24", "--end",
                    time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "--root", base], check=True, stdout=subprocess.DEVNULL)
    files = []
    for pod in sorted(os.listdir(base + "/var/log/pods")):
        (container,) = os.listdir(base + "/var/log/pods/" + pod)
        with open("%s/var/log/pods/%s/%s/0.log" % (base, pod, container), "rb") as f:
            text = f.read()
        unfinished = len(re.findall(rb"(?m)^\S+ std(?:out|err) P ", text))
        files.append((pod, container, text, text.count(b"\n") - unfinished))
    left, lines, n = int(gib * 2 ** 30), {}, 0
    while left > 0:
        pod, container, text, count = files[n % len(files)]
        namespace, name, uid = pod.split("_")
        name = "%s-%03d" % (name, n)
        d = "%s/%s_%s_%s%03x/%s" % (pods, namespace, name, uid[:-3], n, container)
        os.makedirs(d)
        for k in range(FILES):
            times = max(1, min(FILE_BYTES, left) // len(text))
            old = "" if k == FILES - 1 or left <= FILE_BYTES else ".20261120-09%02d00" % k
            with open(d + "/0.log" + old, "wb") as f:
                # Files that begin alike would be one file and its copies.
                f.write(text[:text.index(b" ")] + b" stdout F file %d of container %d\n" % (k, n))
                for _ in range(times):
                    f.write(text)
            lines[name] = lines.get(name, 0) + times * count + 1
            left -= times * len(text)
            if not old:
                break
        n += 1
    shutil.rmtree(base)
    return lines


class Node:
    def __init__(self, a, mnt, log):
        config = log + ".yaml"
        with open(config, "w") as f:
            f.write("max_disk: 0\nmin_free: 0\ncatch_up_rate: %s\n" % a.rate)
        self.p = subprocess.Popen([a.bin, "run", "--config", config, "--pods-dir", mnt + "/pods", "--data-dir", mnt + "/data",
                                   "--listen", "127.0.0.1:0"], stderr=open(log, "a"))
        self.addr = None
        while not self.addr:
            if self.p.poll() is not None:
                raise SystemExit("it ended at once:\n" + open(log).read())
            self.addr = next((x.split(" addr=")[1].split()[0] for x in open(log).read().split("\n") if " addr=" in x), None)
            time.sleep(0.01)

    def get(self, path):
        with urllib.request.urlopen("http://%s%s" % (self.addr, path), timeout=120) as r:
            return r.read().decode()

    def lines(self):
        return sum(int(x.rsplit(" ", 1)[1]) for x in self.get("/metrics").split("\n") if x.startswith("drupelet_store_entries_total"))

    def count(self):
        q = urllib.parse.quote('sum by (pod) (count_over_time({namespace=~".+"}[48h]))')
        data = json.loads(self.get("/loki/api/v1/query?query=" + q))["data"]["result"]
        return {s["metric"]["pod"]: int(s["value"][1]) for s in data}

    def peak(self):
        with open("/proc/%d/status" % self.p.pid) as f:
            return next(int(x.split()[1]) / 1024 for x in f if x.startswith("VmHWM"))

    def cpu(self):
        with open("/proc/%d/stat" % self.p.pid) as f:
            parts = f.read().rsplit(")", 1)[1].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def cached_mib():
    with open("/proc/meminfo") as f:
        return next(int(x.split()[1]) / 1024 for x in f if x.startswith("Cached:"))


def catch_up(a, mnt, node, t0, total, cache):
    with Neighbour(mnt + "/neighbour") as during:
        turn = time.monotonic()
        while node.lines() < total:
            if a.alternate and time.monotonic() - turn > a.alternate:
                node.p.send_signal(signal.SIGSTOP)
                during.waits, during.aside = during.aside, during.waits
                time.sleep(a.alternate)
                during.waits, during.aside = during.aside, during.waits
                node.p.send_signal(signal.SIGCONT)
                turn = time.monotonic()
            if node.p.poll() is not None or time.monotonic() - t0 > a.limit:
                raise SystemExit("only %d of %d lines after %d s" % (node.lines(), total, a.limit))
            time.sleep(0.5)
        took = time.monotonic() - t0
    during.show("catching up")
    if a.alternate:
        stopped = Neighbour(during.path)
        stopped.waits = during.aside
        stopped.show("stopped")
        during.beside = stopped
    cache = cached_mib() - cache
    found = node.count()
    peak, cpu = node.peak(), node.cpu()
    node.p.send_signal(signal.SIGTERM)
    if node.p.wait(30):
        raise SystemExit("it ended with %d" % node.p.returncode)
    return during, took, found, peak, cpu, cache


def run(a, tmp, mnt):
    lines = make_tree(tmp, mnt + "/pods", a.gib)
    total = sum(lines.values())
    subprocess.run(["sync", "-f", mnt], check=True)
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3\n")
    print("%.2f GiB of pod logs, %d lines of %d containers; catch_up_rate %s" % (a.gib, total, len(lines), a.rate), flush=True)
    before = alone(mnt + "/neighbour", a.alone)
    before.show("alone")
    cache = cached_mib()
    node, t0 = Node(a, mnt, tmp + "/log"), time.monotonic()
    try:
        during, took, found, peak, cpu, cache = catch_up(a, mnt, node, t0, total, cache)
    finally:
        if node.p.poll() is None:
            node.p.kill()
            node.p.wait()
    after = alone(mnt + "/neighbour", a.alone)
    after.show("alone again")
    if found != lines:
        odd = sorted(set(found.items()) ^ set(lines.items()))[:6]
        raise SystemExit("%d lines counted of %d: %s" % (sum(found.values()), total, odd))
    ratio = during.p(0.99) / (during.beside.p(0.99) if a.alternate else max(before.p(0.99), after.p(0.99)))
    print("caught up in %.0f s (%.1f MiB/s), CPU %.1f s, peak RSS %.1f MiB, page cache %+.0f MiB, p99 x %.2f; every line once"
          % (took, a.gib * 1024 / took, cpu, peak, cache, ratio), flush=True)
    over = []
    if "memory" in a.check and peak > PEAK_MIB:
        over.append("peak RSS %.1f MiB of %d" % (peak, PEAK_MIB))
    if "time" in a.check and ratio > RATIO:
        over.append("the neighbour's p99 is %.2f times what it was, %g are allowed" % (ratio, RATIO))
    if over:
        raise SystemExit("; ".join(over))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("bin")
    ap.add_argument("--gib", type=float, default=5)
    ap.add_argument("--alone", type=float, default=60, help="seconds of the neighbour alone, before and after")
    ap.add_argument("--alternate", type=float, default=0)
    ap.add_argument("--rate", default="8MiB", help="catch_up_rate")
    ap.add_argument("--limit", type=float, default=3600, help="seconds until it is given up")
    ap.add_argument("--check", default="memory,time")
    a = ap.parse_args()
    a.bin, a.check = os.path.abspath(a.bin), a.check.split(",")
    tmp = tempfile.mkdtemp(prefix="drupelet-neighbour-")
    # A signal becomes an exception, so that what was made is taken away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    mnt, _, _ = loopfs.up(int(a.gib * 1024 * 1.4) + 512)
    try:
        run(a, tmp, mnt)
    finally:
        # Only what this script started can be on it.
        subprocess.run(["sync", "-f", mnt], check=False)
        loopfs.down(mnt)
        shutil.rmtree(tmp)


if __name__ == "__main__":
    main()
