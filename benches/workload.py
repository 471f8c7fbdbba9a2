"""A workload of our own: pod logs as kubelet and containerd write them, invented lines, deterministic by seed.

  python3 benches/workload.py tree --mib 64 --hours 24 --end 2026-11-20T09:00:00Z --root ROOT
  python3 benches/workload.py live --root ROOT --rate 500 --secs 60 [--rotations 5] [--out truth.json]

Fifty containers in ten namespaces, uneven rates, 5 % stderr, 0.2 % of the lines split into P + F. Every line ends in
`seq=<container>:<n>` without gaps, so that a checker can tell lost from repeated. Five lines of a tree hold
`needle-7f3a9c21e5`, none holds `needle-absent-0d4b77`. Python 3 standard library only.
"""
import argparse, calendar, gzip, json, os, random, shutil, time
from bisect import bisect

NS = "default kube-system monitoring shop media home databases ci storage games".split()
KINDS = ["access"] * 12 + ["json"] * 14 + ["logfmt"] * 12 + ["klog"] * 6 + ["text"] * 6
WORDS = ("cache session worker shard index replica volume lease token queue batch topic snapshot route peer "
         "backend request payload cursor handler bucket segment timer thread pool").split()
VERBS = "started finished skipped retried refreshed evicted loaded stored merged rejected".split()
PATHS = ["/", "/healthz", "/api/items/%d", "/api/carts/%d/lines", "/static/app.%d.js", "/login", "/search?q=%d"]


class World:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        shape = random.Random(11)
        kinds = KINDS[:]
        shape.shuffle(kinds)
        self.c, total, self.cum = [], 0.0, []
        for i, kind in enumerate(kinds):
            uid = "%08x-%04x-4%03x-8%03x-%012x" % (shape.getrandbits(32), shape.getrandbits(16), shape.getrandbits(12),
                                                  shape.getrandbits(12), shape.getrandbits(48))
            name = "%s-%02d" % (kind, i)
            pod = "%s-%09x-%05x" % (name, shape.getrandbits(36), shape.getrandbits(20))
            self.c.append(dict(kind=kind, seq=0, dir="var/log/pods/%s_%s_%s/%s" % (NS[i % 10], pod, uid, name)))
            total += 1.0 / (1 + (i * 29 % 50)) ** 0.8  # a few loud containers, many quiet ones
            self.cum.append(total)
        self.cum = [x / total for x in self.cum]

    def pick(self):
        return min(49, bisect(self.cum, self.rng.random()))

    def phrase(self):
        r = self.rng
        return " ".join("%s %s %d" % (r.choice(WORDS), r.choice(VERBS), r.randrange(10000)) for _ in range(r.randrange(2, 5)))

    def line(self, i, t, mark=""):
        c, r = self.c[i], self.rng
        c["seq"] += 1
        status = r.choice((200,) * 40 + (201, 304, 404, 500, 503))
        level = "error" if status >= 500 else "warn" if status >= 400 else "info"
        path = r.choice(PATHS)
        path = path % r.randrange(5000) if "%d" in path else path
        dur, ip = r.expovariate(1 / 20.0), "10.42.%d.%d" % (r.randrange(4), r.randrange(256))
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(t))
        kind = c["kind"]
        if kind == "access":
            s = '%s - - [%s +0000] "GET %s HTTP/1.1" %d %d "-" "probe/1.%d" %.3f' % (
                ip, time.strftime("%d/%b/%Y:%H:%M:%S", time.gmtime(t)), path, status, r.randrange(60000), r.randrange(9), dur / 1000)
        elif kind == "json":
            s = '{"time":"%sZ","level":"%s","path":"%s","status":%d,"duration_ms":%.2f,"client":"%s","trace_id":"%016x","msg":"%s"}' % (
                stamp, level, path, status, dur, ip, r.getrandbits(64), self.phrase())
        elif kind == "logfmt":
            s = 'ts=%sZ level=%s caller=main.go:%d msg="%s" path=%s status=%d duration=%.2fms trace_id=%016x' % (
                stamp, level, r.randrange(400), self.phrase(), path, status, dur, r.getrandbits(64))
        elif kind == "klog":
            s = "%s%s.%06d       1 controller.go:%d] \"%s\" pod=\"%s/%s-%d\"" % (
                level[0].upper(), time.strftime("%m%d %H:%M:%S", time.gmtime(t)), r.randrange(10 ** 6), r.randrange(900),
                self.phrase(), r.choice(NS), r.choice(WORDS), r.randrange(100))
        elif r.random() < 0.001:
            s = "%s FATAL [%s-%d] %s: unhandled exception: %s" % (stamp.replace("T", " "), r.choice(WORDS), r.randrange(16),
                                                                 r.choice(WORDS), self.phrase())
        else:
            s = "%s %-5s [%s-%d] %s: %s" % (stamp.replace("T", " "), level.upper(), r.choice(WORDS), r.randrange(16),
                                          r.choice(WORDS), self.phrase())
        return s + mark + " seq=%d:%d" % (i, c["seq"])


def record(w, ns, text):
    sec, frac = divmod(ns, 10 ** 9)
    head = "%s.%09dZ %s " % (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(sec)), frac,
                            "stderr" if w.rng.random() < 0.05 else "stdout")
    if w.rng.random() < 0.002:
        h = len(text) // 2
        return head + "P " + text[:h] + "\n" + head + "F " + text[h:] + "\n"
    return head + "F " + text + "\n"


def tree(a):
    w = World(a.seed)
    end = calendar.timegm(time.strptime(a.end, "%Y-%m-%dT%H:%M:%SZ")) * 10 ** 9
    start, target = end - int(a.hours * 3600e9), int(a.mib * 2 ** 20)
    step = int((end - start) / (target / 165.0))
    for c in w.c:
        os.makedirs(os.path.join(a.root, c["dir"]), exist_ok=True)
    files = [open(os.path.join(a.root, c["dir"], "0.log"), "w", 1 << 20) for c in w.c]
    raw = lines = needles = 0
    t = start
    while raw < target and t < end:
        i = w.pick()
        # Spread over the whole time, from the first tenth to the last.
        due = raw > target * (0.1 + 0.2 * needles) and needles < 5
        s = w.line(i, t // 10 ** 9, " needle-7f3a9c21e5" if due else "")
        needles += due
        raw, lines = raw + len(s) + 1, lines + 1
        files[i].write(record(w, t, s))
        t += int(step * (0.5 + w.rng.random()))
    for f in files:
        f.close()
    info = dict(raw=raw, lines=lines, needles=needles, start_ns=start, end_ns=t, per={i: c["seq"] for i, c in enumerate(w.c)})
    with open(os.path.join(a.root, "info.json"), "w") as f:
        json.dump(info, f)
    print(json.dumps({k: v for k, v in info.items() if k != "per"}))


def live(a):
    w = World(a.seed)
    dirs = [os.path.join(a.root, c["dir"]) for c in w.c]
    for d in dirs:
        os.makedirs(d, exist_ok=True)
    files = [open(d + "/0.log", "ab", 0) for d in dirs]
    prev, raw = [None] * 50, 0

    def emit(n):
        nonlocal raw
        buf, base = {}, time.time_ns()
        for k in range(n):
            i = w.pick()
            s = w.line(i, base // 10 ** 9)
            raw += len(s) + 1
            buf.setdefault(i, []).append(record(w, base + k * 1000, s))
        for i, parts in buf.items():
            files[i].write("".join(parts).encode())

    def rotate(r):
        for i, d in enumerate(dirs):
            if prev[i]:
                with open(prev[i], "rb") as s, gzip.open(prev[i] + ".gz", "wb", 1) as o:
                    shutil.copyfileobj(s, o)
                os.remove(prev[i])
            prev[i] = d + "/0.log." + time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + "-%02d" % r
            os.rename(d + "/0.log", prev[i])
        emit(max(1, a.rate // 50))
        time.sleep(0.02)
        for i, d in enumerate(dirs):
            files[i].close()
            files[i] = open(d + "/0.log", "ab", 0)
        return max(1, a.rate // 50)

    t0, sent, done = time.time(), 0, 0
    while time.time() - t0 < a.secs:
        due = int((time.time() - t0) * a.rate)
        if due > sent:
            emit(due - sent)
            sent = due
        if done < a.rotations and time.time() - t0 > (done + 1) * a.secs / (a.rotations + 1):
            done += 1
            sent += rotate(done)
        time.sleep(0.05)
    res = dict(lines=sum(c["seq"] for c in w.c), raw=raw, secs=time.time() - t0, rotations=done,
               per={i: c["seq"] for i, c in enumerate(w.c)})
    print(json.dumps({k: v for k, v in res.items() if k != "per"}))
    if a.out:
        with open(a.out, "w") as f:
            json.dump(res, f)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = ap.add_subparsers(dest="what", required=True)
    t = sub.add_parser("tree")
    t.add_argument("--mib", type=float, default=64)
    t.add_argument("--hours", type=float, default=24)
    t.add_argument("--end", default="2026-11-20T09:00:00Z")
    t.add_argument("--root", required=True)
    t.add_argument("--seed", type=int, default=1)
    t.add_argument("--seq", action="store_true", help="always on here; accepted for likeness with other generators")
    v = sub.add_parser("live")
    v.add_argument("--root", required=True)
    v.add_argument("--rate", type=int, default=500)
    v.add_argument("--secs", type=float, default=60)
    v.add_argument("--rotations", type=int, default=0)
    v.add_argument("--seed", type=int, default=5)
    v.add_argument("--out")
    a = ap.parse_args()
    tree(a) if a.what == "tree" else live(a)


if __name__ == "__main__":
    main()
