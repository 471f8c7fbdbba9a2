"""Pods that live for a second: each writes three lines, and its directory vanishes one second later. drupelet is killed with
SIGKILL in between, several times. Every line is there in the end, once; and what reached the device is compared with what
a flush for each pod would have cost (tmp, fsync, rename, fsync of the directory, on the same file system).

  python3 tests/scripts/vanishing_pods.py target/release/drupelet [PODS [KILLS]]      (root: ext4 on a loop device)
"""
import json, os, random, shutil, signal, subprocess, sys, tempfile, threading, time, urllib.parse, urllib.request

BIN = os.path.abspath(sys.argv[1])
PODS = int(sys.argv[2]) if len(sys.argv) > 2 else 500
KILLS = int(sys.argv[3]) if len(sys.argv) > 3 else 6
LINES = 3
SHARE = 10  # at most one of so many bytes that flushes would cost
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT + "/benches")
import loopfs  # noqa: E402


def written(device):
    with open("/sys/block/%s/stat" % os.path.basename(device)) as f:
        return int(f.read().split()[6]) * 512


def sync(mount):
    subprocess.run(["sync", "-f", mount], check=True)


def flush_cost(mount, device, count=50):
    """Device bytes of one file of 1 KiB, committed as a segment is, and a page of an index."""
    d = mount + "/cost"
    os.makedirs(d)
    index = os.open(d + "/index", os.O_RDWR | os.O_CREAT)
    directory = os.open(d, os.O_RDONLY)
    sync(mount)
    before = written(device)
    for i in range(count):
        f = os.open("%s/%d.tmp" % (d, i), os.O_WRONLY | os.O_CREAT)
        os.write(f, os.urandom(1024))
        os.fdatasync(f)
        os.close(f)
        os.rename("%s/%d.tmp" % (d, i), "%s/%d.seg" % (d, i))
        os.pwrite(index, os.urandom(4096), i * 4096)
        os.fsync(directory)
    sync(mount)
    os.close(index)
    os.close(directory)
    return (written(device) - before) / count


class Node:
    def __init__(self, pods, data, log):
        self.log = open(log, "ab")
        mark = self.log.tell()
        self.p = subprocess.Popen([BIN, "run", "--pods-dir", pods, "--data-dir", data, "--listen", "127.0.0.1:0"], stderr=self.log)
        self.addr, end = None, time.monotonic() + 20
        while not self.addr:
            if self.p.poll() is not None or time.monotonic() > end:
                raise SystemExit("it does not start; see " + log)
            with open(log, "rb") as f:
                f.seek(mark)
                text = f.read().decode()
            self.addr = next((x.split(" addr=")[1].split()[0] for x in text.split("\n") if " addr=" in x), None)
            time.sleep(0.002)

    def get(self, path):
        with urllib.request.urlopen("http://" + self.addr + path, timeout=20) as r:
            return r.read().decode()

    def metric(self, name):
        return sum(float(x.rsplit(" ", 1)[1]) for x in self.get("/metrics").split("\n") if x.startswith(name))

    def counts(self):
        q = urllib.parse.quote('sum by (pod) (count_over_time({namespace="jobs"}[1h]))')
        result = json.loads(self.get("/loki/api/v1/query?query=" + q))["data"]["result"]
        return {s["metric"]["pod"]: int(float(s["value"][1])) for s in result}


def live(pods, i, late):
    """The life of one pod."""
    pod = "%s/jobs_job-%04d-abcde_00000000-0000-4000-8000-%012d" % (pods, i, i)
    os.makedirs(pod + "/main")
    with open(pod + "/main/0.log", "ab", 0) as f:
        for k in range(LINES):
            ns = time.time_ns()
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10 ** 9))
            f.write(b"%s.%09dZ stdout F pod %d line %d\n" % (stamp.encode(), ns % 10 ** 9, i, k))
    late.append((time.monotonic() + 1, pod))


def main():
    tmp = tempfile.mkdtemp(prefix="drupelet-vanish-")
    pods, log = tmp + "/pods", tmp + "/log"
    os.makedirs(pods)
    # In memory where that is possible: the kills are to show what the program does, not how long a busy disk stalls a write.
    if os.path.isdir("/dev/shm"):
        tempfile.tempdir = "/dev/shm"
    mount, device, _ = loopfs.up(512)
    node = None
    try:
        cost = flush_cost(mount, device)
        data = mount + "/data"
        node = Node(pods, data, log)
        sync(mount)
        before = written(device)
        late, done, dying = [], threading.Event(), threading.Lock()

        def remove():
            while not (done.is_set() and not late):
                with dying:
                    while late and late[0][0] <= time.monotonic():
                        shutil.rmtree(late.pop(0)[1])
                time.sleep(0.005)

        remover = threading.Thread(target=remove)
        remover.start()
        rng, made, began = random.Random(os.environ.get("DRUPELET_SEED", "7")), 0, time.monotonic()
        rate, downtimes = PODS / (KILLS * 2.5), []
        next_kill = began + 1 + rng.random()
        kills = 0
        while made < PODS or kills < KILLS:
            while made < PODS and made < (time.monotonic() - began) * rate:
                live(pods, made, late)
                made += 1
            if kills < KILLS and time.monotonic() >= next_kill:
                # A busy host takes up to a second to end a process that waits for the device. That is not what a pod's life is
                # measured by: no directory goes meanwhile.
                with dying:
                    sent = time.monotonic()
                    node.p.send_signal(signal.SIGKILL)
                    node.p.wait()
                    down = time.monotonic()
                    late[:] = [(at + down - sent, pod) for at, pod in late]
                node = Node(pods, data, log)
                downtimes.append(time.monotonic() - down)
                kills += 1
                # Longer than a pod lives: none sees two kills.
                next_kill = time.monotonic() + 1.5 + rng.random()
            time.sleep(0.002)
        done.set()
        remover.join()
        end = time.monotonic() + 20
        while sum(node.counts().values()) < PODS * LINES and time.monotonic() < end:
            time.sleep(0.1)
        secured, flushes = node.metric("drupelet_push_log_secured_sources_total"), node.metric("drupelet_store_flushes_total")
        # Once more, with nothing but the log to go by.
        node.p.send_signal(signal.SIGKILL)
        node.p.wait()
        sync(mount)
        bytes_all = written(device) - before
        node = Node(pods, data, log)
        got = node.counts()
        lost = sum(max(0, LINES - got.get("job-%04d-abcde" % i, 0)) for i in range(PODS))
        repeated = sum(max(0, n - LINES) for n in got.values())
        node.p.send_signal(signal.SIGTERM)
        if node.p.wait(20):
            raise SystemExit("it ended with %d; see %s" % (node.p.returncode, log))
        print("%d pods of %d lines, %d kills (longest restart %.2f s), last life: %d sources secured, %d flushes" % (PODS, LINES, kills + 1, max(downtimes), secured, flushes))
        print("lost %d, repeated %d lines" % (lost, repeated))
        print("device: %.0f KiB in all; %d flushes of %.1f KiB would be %.0f KiB, a share of 1/%.1f (limit 1/%d)" % (
            bytes_all / 1024, PODS, cost / 1024, PODS * cost / 1024, PODS * cost / bytes_all, SHARE))
        if lost or repeated or bytes_all * SHARE > PODS * cost:
            raise SystemExit("FAILED")
    finally:
        if node and node.p.poll() is None:
            node.p.kill()
            node.p.wait()
        loopfs.down(mount)
        shutil.rmtree(tmp, ignore_errors=True)


if __name__ == "__main__":
    main()
