"""A disk that runs full while drupelet writes to it, on an ext4 of its own.

  refused   without a rule for space: it says so, stops taking lines, tears nothing, and goes on by itself when space is
            free again; every line is there in the end, once.
  brim      with such a rule, 64 MiB filled to the brim by others, tail and push going on: it refuses, makes room with its
            oldest segments, and goes on without a restart; what it took and did not remove is there, once, and the positions
            are right.

  python3 tests/scripts/full_disk.py target/release/drupelet [refused|brim]        (root: mounts loop devices)
"""
import errno, json, os, re, signal, subprocess, sys, tempfile, threading, time, urllib.error, urllib.parse, urllib.request

BIN = os.path.abspath(sys.argv[1])
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT + "/benches")
import loopfs  # noqa: E402


def run(*cmd):
    return subprocess.run(cmd, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def wait(what, probe, limit=90):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        got = probe()
        if got:
            return got
        time.sleep(0.1)
    raise SystemExit("gave up: " + what)


class Node:
    def __init__(self, tmp, mnt, config):
        self.log = tmp + "/log"
        with open(tmp + "/config.yaml", "w") as f:
            f.write(config)
        mark = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        self.p = subprocess.Popen([BIN, "run", "--config", tmp + "/config.yaml", "--pods-dir", tmp + "/tree/var/log/pods",
                                   "--data-dir", mnt + "/data", "--listen", "127.0.0.1:0"], stderr=open(self.log, "a"))
        self.addr = wait("the address", lambda: next((x.split(" addr=")[1].split()[0]
                                                      for x in open(self.log).read()[mark:].split("\n") if " addr=" in x), None))

    def get(self, path):
        with urllib.request.urlopen("http://" + self.addr + path, timeout=20) as r:
            return r.read().decode()

    def metric(self, name):
        return sum(float(x.rsplit(" ", 1)[1]) for x in self.get("/metrics").split("\n") if x.startswith(name))

    def count(self, selector='{namespace=~".+"}'):
        q = urllib.parse.quote("sum(count_over_time(%s[6h]))" % selector)
        res = json.loads(self.get("/loki/api/v1/query?query=" + q))["data"]["result"]
        return int(res[0]["value"][1]) if res else 0

    def stop(self):
        self.p.send_signal(signal.SIGTERM)
        if self.p.wait(20):
            raise SystemExit("it ended with %d" % self.p.returncode)

    def kill(self):
        if self.p.poll() is None:
            self.p.kill()
            self.p.wait()


def make_tree(tmp, mib):
    run("python3", ROOT + "/benches/workload.py", "tree", "--mib", str(mib), "--hours", "2", "--end",
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "--root", tmp + "/tree")
    with open(tmp + "/tree/info.json") as f:
        return json.load(f)["lines"]


def fill(mnt, name, leave):
    """Takes all but `leave` bytes."""
    space = os.statvfs(mnt)
    with open(mnt + "/" + name, "wb") as f:
        f.write(b"x" * max(0, space.f_bfree * space.f_frsize - leave))


def refused(tmp):
    config = "max_disk: 0\nmin_free: 0\ncatch_up_rate: 0\n"
    lines = make_tree(tmp, 24)
    mnt, _, _ = loopfs.up(24)
    node = None
    try:
        fill(mnt, "filler", 4 << 20)
        node = Node(tmp, mnt, config)
        wait("a refused write", lambda: node.metric("drupelet_store_flush_errors_total") > 0)
        text = open(node.log).read()
        if "full" not in text and "space" not in text:
            raise SystemExit("the log does not speak of a full disk:\n" + text)
        if node.p.poll() is not None:
            raise SystemExit("the process ended on a full disk")
        print("full: %d of %d lines taken, still answering" % (node.count(), lines))
        node.kill()  # nothing may be torn
        node = Node(tmp, mnt, config)
        wait("a refused write again", lambda: node.metric("drupelet_store_flush_errors_total") > 0)
        os.remove(mnt + "/filler")
        wait("all lines after space was freed", lambda: node.count() == lines)
        time.sleep(1)
        if node.count() != lines:
            raise SystemExit("%d lines of %d" % (node.count(), lines))
        if node.metric("drupelet_retention_removed_segments_total"):
            raise SystemExit("segments were removed without a rule")
        node.stop()
        print(run(BIN, "segments", "verify", "--data-dir", mnt + "/data").split("\n")[-1])
        print("freed: %d of %d lines, each once" % (lines, lines))
    finally:
        if node:
            node.kill()
        loopfs.down(mnt)


class Neighbour(threading.Thread):
    """Takes every byte that gets free within a few milliseconds, until it is told to give all of it back."""

    def __init__(self, path):
        super().__init__()
        self.path, self.stop = path, threading.Event()

    def run(self):
        with open(self.path, "wb", buffering=0) as f:
            while not self.stop.is_set():
                try:
                    f.write(b"x" * 65536)
                except OSError as e:
                    if e.errno != errno.ENOSPC:
                        raise
                    time.sleep(0.002)
        os.remove(self.path)


class Pusher(threading.Thread):
    """Pushes a hundred lines at a time for as long as it may; knows how many were acknowledged and how often refused."""

    def __init__(self, node):
        super().__init__()
        self.node, self.acknowledged, self.refusals, self.stop, self.failure = node, 0, 0, threading.Event(), None

    def push(self, first):
        now = time.time_ns()
        values = [[str(now + i), "pushed %d %s" % (first + i, os.urandom(300).hex())] for i in range(100)]
        body = json.dumps({"streams": [{"stream": {"namespace": "pushed", "app": "pusher"}, "values": values}]})
        request = urllib.request.Request("http://%s/loki/api/v1/push" % self.node.addr, body.encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as r:
            return r.status

    def exists(self):
        try:
            self.acknowledged += 100 * (self.push(0) == 204)
            return True
        except urllib.error.HTTPError as e:
            if e.code in (404, 405):
                return False
            raise

    def run(self):
        while not self.stop.is_set():
            try:
                self.push(self.acknowledged)
                self.acknowledged += 100
            except urllib.error.HTTPError as e:
                if e.code not in (429, 503):
                    self.failure = "a push was answered with %d" % e.code
                    return
                self.refusals += 1
            time.sleep(0.02)


def brim(tmp):
    config = "max_disk: 100%\nmin_free: 0\ncatch_up_rate: 2MiB\nflush_interval: 2s\nhead_bytes: 1MiB\n"
    lines = make_tree(tmp, 32)
    mnt, _, _ = loopfs.up(64)
    node = pusher = neighbour = None
    try:
        # Room for a few segments beside the push log: the newest one holds the positions and is never removed.
        fill(mnt, "filler", 12 << 20)
        node = Node(tmp, mnt, config)
        pusher = Pusher(node)
        pushes = pusher.exists()
        if pushes:
            pusher.start()
        full = lambda: node.metric("drupelet_retention_removed_segments_total{reason=\"full\"}")
        wait("room made with old segments", lambda: full() > 0)
        errors = node.metric("drupelet_store_flush_errors_total")
        neighbour = Neighbour(mnt + "/brim")
        neighbour.start()
        wait("a refused write and a refused push",
             lambda: node.metric("drupelet_store_flush_errors_total") > errors and (not pushes or pusher.refusals))
        print("brim: %d segments removed, flushes failed %d times, pushes refused %d times" % (
            full(), node.metric("drupelet_store_flush_errors_total"), pusher.refusals))
        neighbour.stop.set()
        neighbour.join()
        wait("all files to be read", lambda: node.metric("drupelet_agent_lines_total") >= lines, 180)
        if pushes:
            acknowledged = pusher.acknowledged
            wait("pushes to go on", lambda: pusher.failure or pusher.acknowledged > acknowledged)
            pusher.stop.set()
            pusher.join()
            if pusher.failure:
                raise SystemExit(pusher.failure)
        wait("the head to be written", lambda: node.metric("drupelet_store_head_streams") == 0)
        # Removals go on with each flush; the sum must hold between two looks that agree.
        def settled():
            before = node.metric("drupelet_retention_removed_entries_total")
            found = node.count()
            return node.metric("drupelet_retention_removed_entries_total") == before and (found, int(before))
        found, removed = wait("the counts", settled)
        taken = lines + pusher.acknowledged
        if found + removed != taken or not found:
            raise SystemExit("%d found and %d removed of %d taken" % (found, removed, taken))
        node.stop()
        print(run(BIN, "segments", "verify", "--data-dir", mnt + "/data").split("\n")[-1])
        torn = [x for x in os.listdir(mnt + "/data/segments") if not re.fullmatch(r"[0-9a-f]{16}\.seg", x)]
        if torn:
            raise SystemExit("left over: %s" % torn)
        node = Node(tmp, mnt, config)
        time.sleep(2)
        again = node.metric("drupelet_agent_lines_total")
        if again:
            raise SystemExit("%d lines were read again after a restart" % again)
        print("freed: %d lines found and %d removed of %d taken (%d pushed)" % (found, removed, taken, pusher.acknowledged))
    finally:
        for thread in (pusher, neighbour):
            if thread and thread.is_alive():
                thread.stop.set()
                thread.join()
        if node:
            node.kill()
        loopfs.down(mnt)


def main():
    for name, scenario in (("refused", refused), ("brim", brim)):
        if len(sys.argv) > 2 and name not in sys.argv[2:]:
            continue
        tmp = tempfile.mkdtemp(prefix="drupelet-full-")
        try:
            scenario(tmp)
        finally:
            subprocess.run(["rm", "-rf", tmp], check=False)


if __name__ == "__main__":
    main()
