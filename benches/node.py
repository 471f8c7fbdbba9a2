"""What the measuring scripts share: a running drupelet, the workload's big tree with a store over it, and the yardstick Y."""
import http.client, json, os, platform, resource, shutil, signal, statistics, subprocess, sys, time
import urllib.error, urllib.parse, urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ALL = '{namespace=~".+"}'


class Node:
    """One running drupelet."""

    def __init__(self, a, root, data, extra=(), config=None, command="run"):
        self.a, self.data = a, data
        os.makedirs(data, exist_ok=True)
        # Beside the tree, not beside the data: that may be a device whose writes are counted.
        base = os.path.join(a.tmp, "node-%d" % time.monotonic_ns())
        args = [a.bin, command, "--pods-dir", os.path.join(root, "var/log/pods"), "--data-dir", data, "--listen", "127.0.0.1:0", *extra]
        if config:
            path = base + ".yaml"
            with open(path, "w") as f:
                f.write(config)
            args += ["--config", path]
        # Whatever the disk of this machine looks like, and as fast as it goes.
        keep = {"DRUPELET_MAX_DISK": "0", "DRUPELET_MIN_FREE": "0", "DRUPELET_CATCH_UP_RATE": "0"}
        self.log = open(base + ".log", "ab")
        self.t0 = time.monotonic()
        self.p = subprocess.Popen(args, stderr=self.log, stdout=subprocess.DEVNULL, env={**os.environ, **keep})
        self.addr = None
        while self.addr is None:
            if self.p.poll() is not None:
                raise SystemExit("drupelet ended with %s; see %s" % (self.p.returncode, self.log.name))
            with open(self.log.name, "rb") as f:
                for line in f.read().decode("utf-8", "replace").split("\n"):
                    if " addr=" in line and "listening" in line:
                        self.addr = line.split(" addr=")[1].split()[0].strip('"')
            time.sleep(0.002)
        while True:
            try:
                self.get("/ready")
                break
            except urllib.error.HTTPError:
                time.sleep(0.002)
        self.ready_s = time.monotonic() - self.t0

    def get(self, path, **params):
        url = "http://%s%s" % (self.addr, path)
        if params:
            url += "?" + urllib.parse.urlencode(params)
        with urllib.request.urlopen(url, timeout=120) as r:
            return r.read()

    def push(self, streams, connection=None):
        """Pushes {labels as pairs: lines with their times}, as JSON; fails on anything but 204."""
        body = json.dumps(dict(streams=[dict(stream=dict(labels), values=[[str(ns), line] for ns, line in values]) for labels, values in streams.items()]))
        c = connection or http.client.HTTPConnection(self.addr, timeout=30)
        c.request("POST", "/loki/api/v1/push", body, {"Content-Type": "application/json"})
        r = c.getresponse()
        text = r.read()
        if r.status != 204:
            raise SystemExit("push: %d %s" % (r.status, text[:200]))

    def query(self, q, **params):
        return json.loads(self.get("/loki/api/v1/query_range", query=q, **params))["data"]["result"]

    def instant(self, q, ns):
        return json.loads(self.get("/loki/api/v1/query", query=q, time=ns))["data"]["result"]

    def metric(self, name):
        total = 0.0
        for line in self.get("/metrics").decode().split("\n"):
            if line.startswith(name + " ") or line.startswith(name + "{"):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def lines_in(self):
        return int(self.metric("drupelet_store_entries_total"))

    def mem(self, field="VmRSS"):
        with open("/proc/%d/status" % self.p.pid) as f:
            for line in f:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) / 1024
        return 0.0

    def cpu(self):
        """CPU seconds of the process, to the nanosecond; threads that have ended included."""
        # The clock that clock_getcpuclockid(3) names.
        return time.clock_gettime(~self.p.pid << 3 | 2)

    def wait_lines(self, n, limit=600):
        end = time.monotonic() + limit
        while self.lines_in() < n:
            if time.monotonic() > end:
                raise SystemExit("only %d of %d lines after %d s" % (self.lines_in(), n, limit))
            time.sleep(0.1)

    def stop(self):
        self.p.send_signal(signal.SIGTERM)
        code = self.p.wait(30)
        self.log.close()
        if code:
            raise SystemExit("drupelet ended with %d on SIGTERM; see %s" % (code, self.log.name))


class Ground:
    """A working directory with what several measurements need: trees, a store over the big one, frames for the yardstick."""

    def __init__(self, a):
        self.a, self.tmp = a, a.tmp
        self.store512 = None

    def gen(self, what, *args):
        if self.a.workload:
            cmd = [sys.executable, os.path.join(self.a.workload, what + ".py")]
        else:
            cmd = [sys.executable, os.path.join(HERE, "workload.py"), what]
        return subprocess.Popen(cmd + [str(x) for x in args], stdout=subprocess.DEVNULL)

    def dir(self, name):
        d = os.path.join(self.tmp, name)
        shutil.rmtree(d, ignore_errors=True)
        os.makedirs(d)
        return d

    def tree(self):
        """The big tree, made once. Returns (root, info)."""
        root = self.a.tree or os.path.join(self.tmp, "tree-%g" % self.a.mib)
        if not os.path.exists(os.path.join(root, "info.json")):
            os.makedirs(root, exist_ok=True)
            if self.gen("tree", "--mib", self.a.mib, "--hours", 24, "--root", root).wait():
                raise SystemExit("the workload generator failed")
        with open(os.path.join(root, "info.json")) as f:
            info = json.load(f)
        end = int(info.get("end_ns") or info.get("last_ns") or info["end"])
        start = int(info.get("start_ns") or info.get("first_ns") or info["start"])
        return root, dict(raw=int(info["raw"]), lines=int(info["lines"]), start=start, end=end)

    def store(self):
        """A store over the big tree, caught up and stopped. Returns its directory."""
        if self.store512 is None:
            root, info = self.tree()
            data = self.dir("store") + "/data"
            n = Node(self.a, root, data)
            n.wait_lines(info["lines"])
            n.stop()
            self.store512 = data
        return self.store512

    def y(self, root):
        """The yardstick of query rows: median of three of `y_runs`."""
        return statistics.median(self.y_runs(root, 3))

    def y_runs(self, root, runs):
        """CPU ms of `zstd -dc | rg -c` over the same lines in 256 KiB frames, after a run to warm."""
        frames = os.path.join(self.tmp, "frames-%g.zst" % self.a.mib)
        if not os.path.exists(frames):
            code = ("import os,sys,subprocess\n"
                    "out=open(sys.argv[2],'wb')\n"
                    "def put(b):\n"
                    "    out.write(subprocess.run(['zstd','-1','-c','-q'],input=b,stdout=subprocess.PIPE,check=True).stdout)\n"
                    "buf=bytearray()\n"
                    "for d,_,fs in sorted(os.walk(sys.argv[1])):\n"
                    "    for f in fs:\n"
                    "        if not f.startswith('0.log'): continue\n"
                    "        for line in open(os.path.join(d,f),'rb'):\n"
                    "            buf+=line.split(b' ',3)[3]\n"
                    "            if len(buf)>=262144: put(buf); buf=bytearray()\n"
                    "put(buf)\n")
            subprocess.run([sys.executable, "-c", code, os.path.join(root, "var/log/pods"), frames], check=True)
        out = []
        for _ in range(1 + runs):
            r0 = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run("zstd -dc < %s | rg -c needle-absent-0d4b77" % frames, shell=True, stdout=subprocess.DEVNULL)
            r1 = resource.getrusage(resource.RUSAGE_CHILDREN)
            out.append(1e3 * (r1.ru_utime + r1.ru_stime - r0.ru_utime - r0.ru_stime))
        return out[1:]


def machine():
    """Where and when a run was made, for its results."""
    git = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True).stdout.strip()
    with open("/proc/cpuinfo") as f:
        cpu = next((x.split(":")[1].strip() for x in f if x.startswith("model name")), platform.machine())
    return dict(date=time.strftime("%Y-%m-%d"), commit=git, kernel=platform.release(), cpu=cpu, cores=os.cpu_count(), load=os.getloadavg())
