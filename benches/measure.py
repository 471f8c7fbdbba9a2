"""Measures what drupelet costs, and what it answers, on this machine.

  image/build.sh                                               the static binary, as it is shipped
  python3 benches/measure.py                                   every row, our own workload, about 25 minutes
  python3 benches/measure.py --rows idle,live,catchup --mib 64 quick look
  python3 benches/measure.py --workload DIR                    another workload: DIR/tree.py and DIR/live.py, same flags
  python3 benches/measure.py --check memory,bytes              exit 1 if such a row is over its limit (times never fail)

Rows and limits are those of the table of costs in the README. Python 3 standard library; the row `histogram` also
needs the `zstd` and `rg` commands, the rows `device` and `push_device` root (they mount an ext4 of their own on a loop device).
Results go to stdout and, with --out FILE, to a JSON file with machine, kernel and commit.
"""
import argparse, http.client, http.server, json, os, platform, resource, shutil, statistics, subprocess, sys, tempfile, threading, time
import urllib.parse

import loopfs, queries
from node import ALL, HERE, Ground, Node, machine

# name: (limit, unit, kind); a row may give several of these
LIMITS = {
    "rss_idle": (10, "MiB", "memory"), "cpu_idle": (0.05, "% of a core", "cpu"),
    "rss_500": (18, "MiB", "memory"), "cpu_500": (0.8, "% of a core", "cpu"),
    "rss_peak_catchup_histogram": (32, "MiB", "memory"), "cpu_per_gib": (10, "s/GiB raw", "cpu"),
    "rss_queries": (40, "MiB", "memory"), "disk_per_raw": (0.215, "bytes/byte", "bytes"),
    "device_per_raw": (0.30, "bytes/byte", "bytes"), "flushes_per_hour": (12, "/h", "bytes"),
    "push_device_per_raw": (1.0, "bytes/byte", "bytes"), "push_flushes_per_hour": (3600, "/h", "bytes"),
    "push_queryable_p99": (10, "ms", "time"),
    "queryable_p99": (0.3, "s", "time"), "ready": (0.3, "s", "time"), "tail1000": (10, "ms", "time"),
    "histogram": (0.05, "Y", "cpu"), "lost": (0, "lines", "bytes"), "repeated": (0, "lines", "bytes"),
    "rss_agent_idle": (6, "MiB", "memory"), "rss_agent_500": (9, "MiB", "memory"), "lost_agent": (0, "lines", "bytes"),
    "rss_growth_with_data": (2, "MiB", "memory"),
    "rss_10k_streams": (18, "MiB", "memory"), "rss_peak_10k_streams": (32, "MiB", "memory"), "device_per_raw_10k_streams": (0.30, "bytes/byte", "bytes"),
}


class Sink(http.server.ThreadingHTTPServer):
    """Takes pushes and counts them, as a Loki that never says no."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.server.bytes += len(self.rfile.read(int(self.headers["Content-Length"])))
            self.server.requests += 1
            self.send_response(204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.daemon_threads, self.bytes, self.requests = True, 0, 0
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = "http://127.0.0.1:%d" % self.server_address[1]


class Bench(Ground):
    def __init__(self, a):
        super().__init__(a)
        self.results = {}

    def put(self, name, value, note=""):
        limit, unit, kind = LIMITS[name]
        ok = value <= limit
        self.results[name] = dict(value=round(value, 4), limit=limit, unit=unit, kind=kind, ok=ok, note=note)
        print("%-28s %10.3f %-12s due %-7g %s %s" % (name, value, unit, limit, "" if ok else "OVER", note), flush=True)

    def histogram(self, n, info):
        return n.query("sum by (namespace)(count_over_time(%s[5m]))" % ALL, start=info["start"], end=info["end"], step=300)

    # --- rows ------------------------------------------------------------------------------------
    def row_idle(self):
        root = self.dir("idle")
        self.gen("live", "--root", root, "--rate", 200, "--secs", 1).wait()
        n = Node(self.a, root, os.path.join(root, "data"))
        time.sleep(3)
        c0 = n.cpu()
        time.sleep(self.a.secs)
        self.put("cpu_idle", 100 * (n.cpu() - c0) / self.a.secs)
        self.put("rss_idle", n.mem())
        n.stop()

    def row_live(self):
        root = self.dir("live")
        os.makedirs(root + "/var/log/pods")
        n = Node(self.a, root, os.path.join(root, "data"))
        secs = max(30, self.a.secs * 3)
        g = self.gen("live", "--root", root, "--rate", 500, "--secs", secs + 5)
        time.sleep(4)
        c0, t0, peak = n.cpu(), time.monotonic(), 0
        while time.monotonic() - t0 < secs:
            peak = max(peak, n.mem())
            time.sleep(0.5)
        self.put("cpu_500", 100 * (n.cpu() - c0) / (time.monotonic() - t0), "over %d s, with /proc sampling only" % secs)
        self.put("rss_500", peak, "highest of the run")
        g.wait()
        n.stop()

    def row_agent_idle(self):
        """The agent alone, beside a sink that takes everything."""
        sink, root = Sink(), self.dir("agent-idle")
        self.gen("live", "--root", root, "--rate", 200, "--secs", 1).wait()
        n = Node(self.a, root, os.path.join(root, "data"), ["--push-url", sink.url], command="agent")
        time.sleep(3)
        c0 = n.cpu()
        time.sleep(self.a.secs)
        cpu = 100 * (n.cpu() - c0) / self.a.secs
        self.put("rss_agent_idle", n.mem(), "50 files; cpu %.3f %% of a core" % cpu)
        n.stop()
        sink.shutdown()

    def row_agent_live(self):
        sink, root = Sink(), self.dir("agent-live")
        os.makedirs(root + "/var/log/pods")
        n = Node(self.a, root, os.path.join(root, "data"), ["--push-url", sink.url], command="agent")
        secs = max(30, self.a.secs * 3)
        truth = os.path.join(root, "truth.json")
        g = self.gen("live", "--root", root, "--rate", 500, "--secs", secs + 5, "--out", truth)
        time.sleep(4)
        c0, t0, peak = n.cpu(), time.monotonic(), 0
        while time.monotonic() - t0 < secs:
            peak = max(peak, n.mem())
            time.sleep(0.5)
        cpu = 100 * (n.cpu() - c0) / (time.monotonic() - t0)
        g.wait()
        with open(truth) as f:
            lines = json.load(f)["lines"]
        end = time.monotonic() + 30
        while n.metric("drupelet_ship_entries_total") < lines and time.monotonic() < end:
            time.sleep(0.1)
        acked, raw = n.metric("drupelet_ship_entries_total"), n.metric("drupelet_ship_line_bytes_total")
        note = "%d s; cpu %.2f %% of a core; %d requests, %.3f bytes sent and %.4f written to disk a byte of log" % (
            secs, cpu, sink.requests, sink.bytes / raw, n.metric("drupelet_disk_written_bytes_total") / raw)
        self.put("rss_agent_500", peak, note)
        self.put("lost_agent", abs(lines - acked), "%d lines acknowledged" % acked)
        n.stop()
        sink.shutdown()

    def row_catchup(self):
        root, info = self.tree()
        data = self.dir("store") + "/data"
        n = Node(self.a, root, data)
        c0 = 0.0
        t0 = time.monotonic()
        n.wait_lines(info["lines"])
        wall = time.monotonic() - t0
        time.sleep(2)
        self.put("cpu_per_gib", (n.cpu() - c0) / (info["raw"] / 2 ** 30), "wall %.1f s, whole process since start" % wall)
        n.stop()
        size = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(data) for f in fs)
        self.put("disk_per_raw", size / info["raw"], "all files of the data directory")
        self.store512 = data
        # The same with a histogram over the whole day all the time.
        data2 = self.dir("store-h") + "/data"
        n = Node(self.a, root, data2)
        stop, asked = threading.Event(), [0]

        def ask():
            while not stop.is_set():
                self.histogram(n, info)
                asked[0] += 1

        t = threading.Thread(target=ask)
        t.start()
        n.wait_lines(info["lines"])
        stop.set()
        t.join()
        got = {tuple(s["metric"][k] for k in ("namespace", "pod", "container")): int(float(s["value"][1]))
               for s in n.instant("sum by (namespace,pod,container) (count_over_time(%s[25h]))" % ALL, info["end"] + 1)}
        want = count_lines(os.path.join(root, "var/log/pods"))
        if got != want or sum(got.values()) != info["lines"]:
            raise SystemExit("the store counts %d lines of %d: %s" % (sum(got.values()), info["lines"], sorted(set(got.items()) ^ set(want.items()))[:6]))
        print("every line is queryable: %d lines of %d containers, as in the files" % (info["lines"], len(got)), flush=True)
        self.put("rss_peak_catchup_histogram", n.mem("VmHWM"), "%d histograms meanwhile" % asked[0])
        n.stop()

    def row_device(self):
        """Durations divided, rates multiplied by --divide (10: two hours at 50 lines/s become 12 min at 500)."""
        f = self.a.divide
        mnt, loop, _ = loopfs.up(2048)
        sync = lambda: subprocess.run(["sync", "-f", mnt], check=True)
        try:
            root = self.dir("device")
            os.makedirs(root + "/var/log/pods")
            n = Node(self.a, root, mnt + "/data", config="flush_interval: %ds\n" % (1800 // f))
            sync()

            def stat():
                with open("/sys/block/%s/stat" % os.path.basename(loop)) as h:
                    return [int(x) for x in h.read().split()]

            secs = self.a.device_secs
            s0 = stat()
            g = self.gen("live", "--root", root, "--rate", 50 * f, "--secs", secs)
            g.wait()
            time.sleep(1)
            raw = n.metric("drupelet_store_bytes_total")
            flushes = stat()[15] - s0[15]
            n.stop()
            sync()
            s1 = stat()
            note = "durations / %d, rates x %d: %d s at %d lines/s, %.0f MB raw" % (f, f, secs, 50 * f, raw / 1e6)
            self.put("device_per_raw", (s1[6] - s0[6]) * 512 / raw, note + ", what the stop writes included")
            self.put("flushes_per_hour", flushes * 3600 / (secs * f), note + ", %d in all" % flushes)
        finally:
            loopfs.down(mnt)

    def row_push_device(self):
        """50 lines/s in one push a second, --push-secs long. Nothing is divided: journal commits come by the real clock.
        Before that the log's file gets its full size, which it does once in its life."""
        mnt, loop, _ = loopfs.up(1024)
        sync = lambda: subprocess.run(["sync", "-f", mnt], check=True)
        sys.path.insert(0, HERE)
        import workload

        def stat():
            with open("/sys/block/%s/stat" % os.path.basename(loop)) as h:
                return [int(x) for x in h.read().split()]

        try:
            root = self.dir("push-device")
            os.makedirs(root + "/var/log/pods")
            world = workload.World(3)

            def push(n, connection):
                streams = {}
                for _ in range(50):
                    i, ns = world.pick(), time.time_ns()
                    labels = (("app", "app-%02d" % i), ("namespace", workload.NS[i % 10]))
                    streams.setdefault(labels, []).append((ns, world.line(i, ns // 10 ** 9)))
                n.push(streams, connection)

            n = Node(self.a, root, mnt + "/data", config="push_sync_interval: 1ms\n")
            c = http.client.HTTPConnection(n.addr, timeout=30)
            while n.metric("drupelet_push_log_size_bytes") < 16 << 20:
                for _ in range(20):
                    push(n, c)
                    time.sleep(0.003)
            n.stop()
            n = Node(self.a, root, mnt + "/data")
            c = http.client.HTTPConnection(n.addr, timeout=30)
            sync()
            s0, t0, k = stat(), time.monotonic(), 0
            while time.monotonic() - t0 < self.a.push_secs:
                push(n, c)
                k += 1
                time.sleep(max(0, t0 + k - time.monotonic()))
            raw, secs = n.metric("drupelet_store_bytes_total"), time.monotonic() - t0
            flushes, syncs = stat()[15] - s0[15], n.metric("drupelet_push_log_syncs_total")
            n.stop()
            sync()
            s1 = stat()
            note = "%d pushes of 50 lines in %d s, %.1f MB raw, %d syncs" % (k, secs, raw / 1e6, syncs)
            self.put("push_device_per_raw", (s1[6] - s0[6]) * 512 / raw, note + ", what the stop writes included")
            self.put("push_flushes_per_hour", flushes * 3600 / secs, note)
        finally:
            loopfs.down(mnt)

    def row_push_queryable(self):
        """From a push that is sent until a query finds its line, beside one push of 50 lines a second."""
        root = self.dir("push-queryable")
        os.makedirs(root + "/var/log/pods")
        n = Node(self.a, root, os.path.join(root, "data"))
        stop = threading.Event()

        def background():
            k = 0
            while not stop.wait(1):
                n.push({(("app", "other"),): [(time.time_ns() + i, "line %d of push %d" % (i, k)) for i in range(50)]})
                k += 1

        t = threading.Thread(target=background)
        t.start()
        waits = []
        push, ask = (http.client.HTTPConnection(n.addr, timeout=30) for _ in range(2))
        for i in range(300):
            ns = time.time_ns()
            q = urllib.parse.urlencode(dict(query='{app="probe"} |= "probe %d x"' % i, start=ns - 10 ** 9, limit=1))
            t0 = time.monotonic()
            n.push({(("app", "probe"),): [(ns, "probe %d x" % i)]}, push)
            while True:
                ask.request("GET", "/loki/api/v1/query_range?" + q)
                if json.loads(ask.getresponse().read())["data"]["result"]:
                    break
            waits.append(1e3 * (time.monotonic() - t0))
            time.sleep(0.02 + (i % 7) * 0.01)
        stop.set()
        t.join()
        waits.sort()
        self.put("push_queryable_p99", waits[int(len(waits) * 0.99) - 1], "median %.1f ms, max %.1f ms" % (statistics.median(waits), waits[-1]))
        n.stop()

    def row_queryable(self):
        root = self.dir("queryable")
        d = root + "/var/log/pods/default_probe-5c7d9f6b8d-abcde_00000000-0000-4000-8000-000000000001/probe"
        os.makedirs(d)
        n = Node(self.a, root, os.path.join(root, "data"))
        g = self.gen("live", "--root", root, "--rate", 500, "--secs", 45)
        time.sleep(3)
        waits = []
        with open(d + "/0.log", "ab", 0) as f:
            for i in range(200):
                ns = time.time_ns()
                s, frac = divmod(ns, 10 ** 9)
                f.write(b"%s.%09dZ stdout F probe %d x\n" % (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(s)).encode(), frac, i))
                t0 = time.monotonic()
                while not n.query('{container="probe"} |= "probe %d x"' % i, start=ns - 10 ** 9, limit=1):
                    time.sleep(0.001)
                waits.append(time.monotonic() - t0)
                time.sleep(0.02 + (i % 7) * 0.02)
        waits.sort()
        self.put("queryable_p99", waits[int(len(waits) * 0.99) - 1], "beside 500 lines/s, median %.0f ms, max %.0f ms" % (1e3 * statistics.median(waits), 1e3 * waits[-1]))
        n.stop()
        g.wait()

    def row_queries(self):
        root, info = self.tree()
        n = Node(self.a, root, self.store(), config=queries.CONFIG)
        self.put("ready", n.ready_s, "process start to /ready, over the store of the big tree")
        y = self.y(root)
        rows = queries.measure([n], info, queries.QUERIES, 7)[0]
        queries.print_rows(rows, y)
        for name in ("tail1000", "histogram"):
            row = rows[name]
            value = row["wall_ms"] if LIMITS[name][1] == "ms" else row["cpu_ms"] / y
            self.put(name, value, "median of 7, cpu %.1f ms, wall %.1f ms; Y = %.0f ms" % (row["cpu_ms"], row["wall_ms"], y))
        self.put("rss_queries", max(row["rss_mib"] for row in rows.values()), "highest over all reference queries")
        n.stop()

    def row_growth(self):
        """RSS over one set and over eight times as much: the same files again under other pod uids."""
        root, info = self.tree()
        src = os.path.join(root, "var/log/pods")

        def rss(data, root):
            n = Node(self.a, root, data)
            span = dict(start=info["start"], end=info["end"] + 1)
            for _ in range(3):
                self.histogram(n, info)
                n.query('{namespace="shop"}', limit=1000, **span)
            n.get("/loki/api/v1/labels", **span)
            time.sleep(2)
            m = n.mem()
            n.stop()
            return m

        small = rss(self.store(), root)
        big = self.dir("big")
        for k in range(8):
            for d in os.listdir(src):
                dst = os.path.join(big, "var/log/pods", "%s%d" % (d[:-1], k))
                for c in os.listdir(os.path.join(src, d)):
                    os.makedirs(os.path.join(dst, c), exist_ok=True)
                    for f in os.listdir(os.path.join(src, d, c)):
                        os.link(os.path.join(src, d, c, f), os.path.join(dst, c, f))
        data = os.path.join(big, "data")
        n = Node(self.a, big, data)
        n.wait_lines(8 * info["lines"], 1200)
        n.stop()
        large = rss(data, big)
        self.put("rss_growth_with_data", large - small, "%.1f MiB over %.1f GiB stored, %.1f MiB over %.1f" % (large, 8 * info["raw"] / 2 ** 30, small, info["raw"] / 2 ** 30))
        shutil.rmtree(big)

    def row_rotate(self, secs=None, rotations=20):
        """5,000 lines/s with rotations: every line once."""
        root = self.dir("rotate")
        os.makedirs(root + "/var/log/pods")
        n = Node(self.a, root, os.path.join(root, "data"))
        truth = os.path.join(root, "truth.json")
        g = self.gen("live", "--root", root, "--rate", 5000, "--secs", secs or self.a.rotate_secs, "--rotations", rotations, "--out", truth)
        g.wait()
        with open(truth) as f:
            t = json.load(f)
        want = {int(k): v for k, v in t["per"].items()}
        end = time.monotonic() + 30
        while n.lines_in() < t["lines"] and time.monotonic() < end:
            time.sleep(0.1)
        lost, repeated = count_seq(n, want)
        note = "%d lines, %d rotations of 50 files, %.1f s apart" % (t["lines"], t["rotations"], t["secs"] / (t["rotations"] + 1))
        self.put("lost", lost, note)
        self.put("repeated", repeated, note)
        n.stop()

    def row_rotate_fast(self):
        self.row_rotate(42, 20)

    def row_streams(self):
        """10,000 streams that all write, replicas of one service: 100 pods of 50 containers with two outputs. Harder:
        --stream-pods 5000, a container each; --stream-mixed, the lines of our own workload's fifty services.
        First as fast as they can be written, then at 500 lines/s after a restart."""
        root = self.dir("streams")
        pods, each = self.a.stream_pods, max(1, 5000 // self.a.stream_pods)
        dirs = []
        for i in range(pods):
            pod = "ns%02d_app-%04d-7d9c6b5f4-x%04x_%08x-0000-4000-8000-%012x" % (i % 40, i % 400, i, i, i)
            for j in range(each):
                dirs.append(os.path.join(root, "var/log/pods", pod, "main" if each == 1 else "worker-%02d" % j))
                os.makedirs(dirs[-1])
        data = os.path.join(root, "data")
        n = Node(self.a, root, data)
        writer = StreamWriter(dirs, self.a.stream_mixed)
        empty = n.mem()
        for _ in range(self.a.stream_rounds):
            for i in range(len(dirs)):
                writer.append(i)
        t0 = time.monotonic()
        n.wait_lines(writer.lines)
        waited = time.monotonic() - t0
        taken = n.mem("VmHWM")
        total = sum(float(s["value"][1]) for s in n.instant("sum(count_over_time(%s[1h]))" % ALL, time.time_ns()))
        if int(total) != writer.lines:
            raise SystemExit("the store counts %d lines of %d" % (total, writer.lines))
        note = "%d pods, %d lines of %d bytes, %.0f MB raw" % (pods, writer.lines, writer.raw / writer.lines, writer.raw / 1e6)
        self.put("rss_peak_10k_streams", n.mem("VmHWM"), "%.1f with empty files, %.1f before the first query; %s, the last lines after %.1f s"
                 % (empty, taken, note, waited))
        if self.a.smaps:
            shutil.copy("/proc/%d/smaps" % n.p.pid, self.a.smaps)
        size = lambda: sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(data) for f in fs)
        with open("/proc/%d/io" % n.p.pid) as f:
            written = int(f.read().split("wchar:")[1].split()[0])
        before = size()
        n.stop()
        # What the last flush writes is seen from the files: the process's own counter ends with it.
        written += max(0, size() - before)
        self.put("device_per_raw_10k_streams", written / writer.raw, "bytes written; the data directory holds %.3f" % (size() / writer.raw))
        n = Node(self.a, root, data)
        time.sleep(2)
        peak, t0, k = 0, time.monotonic(), 0
        while time.monotonic() - t0 < max(30, self.a.secs):
            while k < 250 * (time.monotonic() - t0):
                writer.append(k % len(dirs))
                k += 1
            peak = max(peak, n.mem())
            time.sleep(0.1)
        n.wait_lines(2 * k, 90)
        self.put("rss_10k_streams", max(peak, n.mem()), "%d lines at 500 lines/s after a restart" % (2 * k))
        n.stop()


class StreamWriter:
    """Appends a line to each output of a container. Its files stay open, as a container runtime's do: a close would say that the
    container has ended."""

    def __init__(self, dirs, mixed):
        sys.path.insert(0, HERE)
        import random, workload
        self.dirs, self.world, self.rng = dirs, workload.World(5) if mixed else None, random.Random(5)
        self.raw = self.lines = 0
        self.files = {}
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def line(self, i, s):
        r = self.rng
        if self.world:
            return self.world.line(i % 50, s)
        return 'level=%s caller=server.go:%d msg="request completed" method=%s path=/api/items/%d status=%d duration=%d.%02dms bytes=%d attempt=1 trace_id=%016x' % (
            r.choice(("info", "info", "info", "warn", "error")), r.randrange(10, 400), r.choice(("GET", "GET", "POST")), r.randrange(5000),
            r.choice((200, 200, 200, 304, 404, 500)), r.randrange(90), r.randrange(100), r.randrange(60000), r.getrandbits(64))

    def append(self, i):
        s, frac = divmod(time.time_ns(), 10 ** 9)
        stamp = "%s.%09dZ" % (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(s)), frac)
        text = ""
        for out in ("stdout", "stderr"):
            msg = self.line(i, s)
            self.raw, self.lines = self.raw + len(msg) + 1, self.lines + 1
            text += "%s %s F %s\n" % (stamp, out, msg)
        if i not in self.files:
            self.files[i] = open(os.path.join(self.dirs[i], "0.log"), "ab", 0)
        self.files[i].write(text.encode())


def count_lines(pods):
    """Lines of each container as its files have them: a line ends with its F record."""
    count = {}
    for name in os.listdir(pods):
        namespace, pod, _ = name.split("_")
        for container in os.listdir(os.path.join(pods, name)):
            with open(os.path.join(pods, name, container, "0.log"), "rb") as f:
                count[namespace, pod, container] = sum(1 for record in f if record.split(b" ", 3)[2] == b"F")
    return count


def count_seq(n, want):
    """Lines lost and repeated, from the `seq=<container>:<n>` at the end of each line."""
    seen = {i: {} for i in want}
    for i in want:
        start, last = 0, None
        label = [v for v in json.loads(n.get("/loki/api/v1/label/container/values", start=0))["data"] if v.endswith("-%02d" % i)]
        q = '{container="%s"}' % label[0]
        start = time.time_ns() - 3600 * 10 ** 9
        while True:
            res = n.query(q, start=start, end=time.time_ns() + 10 ** 9, limit=5000, direction="forward")
            rows = sorted((int(ts), line) for s in res for ts, line in s["values"])
            if not rows:
                break
            top = rows[-1][0]
            whole = len(rows) < 5000
            for ts, line in rows:
                if whole or ts < top:
                    k = int(line.rsplit(":", 1)[1])
                    seen[i][k] = seen[i].get(k, 0) + 1
            if whole:
                break
            if rows[0][0] == top:
                raise SystemExit("more than 5000 lines at one instant")
            start = top
    lost = sum(1 for i, last in want.items() for k in range(1, last + 1) if k not in seen[i])
    repeated = sum(c - 1 for s in seen.values() for c in s.values())
    return lost, repeated


ROWS = ["idle", "live", "agent_idle", "agent_live", "catchup", "queries", "queryable", "device", "push_device", "push_queryable", "rotate", "rotate_fast", "streams", "growth"]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--bin", default=os.path.join(HERE, "../target/%s-unknown-linux-gnu/release/drupelet" % platform.machine()))
    ap.add_argument("--workload", help="directory with tree.py and live.py")
    ap.add_argument("--tree", help="a tree that --workload made earlier (with its info.json)")
    ap.add_argument("--mib", type=float, default=512, help="size of the big tree, MiB raw (512)")
    ap.add_argument("--secs", type=float, default=30, help="length of the idle row, a third of the live row (30)")
    ap.add_argument("--rotate-secs", type=float, default=130)
    ap.add_argument("--device-secs", type=float, default=720, help="length of the device row (720)")
    ap.add_argument("--push-secs", type=float, default=300, help="length of the row push_device (300)")
    ap.add_argument("--divide", type=int, default=10)
    ap.add_argument("--stream-rounds", type=int, default=40)
    ap.add_argument("--stream-pods", type=int, default=100)
    ap.add_argument("--stream-mixed", action="store_true")
    ap.add_argument("--smaps", help="with row streams: keep /proc/PID/smaps in this file")
    ap.add_argument("--rows", default=",".join(ROWS))
    ap.add_argument("--check", default="", help="kinds of rows that may fail this run: memory, bytes, cpu, time")
    ap.add_argument("--tmp", help="working directory (a new temporary one)")
    ap.add_argument("--out")
    a = ap.parse_args()
    a.bin = os.path.abspath(a.bin)
    made = None if a.tmp else tempfile.mkdtemp(prefix="drupelet-bench-")
    a.tmp = os.path.abspath(a.tmp or made)
    b = Bench(a)
    try:
        for row in a.rows.split(","):
            print("-- %s" % row, flush=True)
            getattr(b, "row_" + row)()
    finally:
        if made:
            shutil.rmtree(made, ignore_errors=True)
    if a.out:
        doc = dict(machine(), mib=a.mib, workload="reference" if a.workload else "own", results=b.results)
        with open(a.out, "w") as f:
            json.dump(doc, f, indent=1)
            f.write("\n")
    kinds = set(filter(None, a.check.split(",")))
    over = [k for k, v in b.results.items() if not v["ok"] and v["kind"] in kinds]
    if over:
        print("over their limit: " + ", ".join(over))
        sys.exit(1)


if __name__ == "__main__":
    main()
