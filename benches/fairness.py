#!/usr/bin/env python3
"""Whether heavy queries delay a light one, or ingestion: 99th percentiles alone and beside four heavy queries.

    python3 fairness.py --bin drupelet --data COPY_OF_A_STORE --start NS --end NS [--secs 30] [--tmp DIR]

The store is one of the reference workload (`measure.py` makes it); work on a copy. The light query is the newest 100 lines
of a namespace, asked ten times a second. A line is written to a pod log 500 times a second; how long one of a second takes
until a query finds it is the lag. The heavy queries are two of a regex over everything and two quantiles of parsed values,
each asked again when it ends. Due: at most 100 ms more."""

import argparse, os, threading, time

from measure import Node

HEAVY = ['{namespace=~".+"} |~ `(?i)FATAL.*exception`',
         'quantile_over_time(0.95, {app=~"json-.*"} | json | unwrap duration_ms [5m]) by (app)'] * 2


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] * 1000


class Load:
    """A pod log that grows."""

    def __init__(self, root):
        folder = os.path.join(root, "var/log/pods/fair_writer-0_00000000-0000-0000-0000-000000000001/main")
        os.makedirs(folder, exist_ok=True)
        self.file = open(os.path.join(folder, "0.log"), "a", buffering=1)
        self.marks, self.stop = {}, threading.Event()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        n, begin = 0, time.monotonic()
        while not self.stop.is_set():
            now = time.time_ns()
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9)) + ".%09dZ" % (now % 10**9)
            mark = "mark=%d" % (n // 500)
            if n % 500 == 0:
                self.marks[n // 500] = time.monotonic()
            self.file.write("%s stdout F request n=%d %s %s\n" % (stamp, n, mark if n % 500 == 0 else "-", "x" * 80))
            n += 1
            time.sleep(max(0, begin + n / 500 - time.monotonic()))


def light(node, a, out, until):
    while time.monotonic() < until:
        t = time.monotonic()
        node.query('{namespace="shop"}', start=a.start, end=a.end, limit=100)
        out.append(time.monotonic() - t)
        time.sleep(0.1)


def lag(node, load, out, until):
    while time.monotonic() < until:
        first = max(load.marks)
        while max(load.marks) == first:
            time.sleep(0.001)
        mark = max(load.marks)
        while not node.query('{namespace="fair"} |= "mark=%d "' % mark, start=time.time_ns() - 10 * 10**9, end=time.time_ns(), limit=1):
            time.sleep(0.005)
        out.append(time.monotonic() - load.marks[mark])


def heavy(node, a, q, done, until):
    while time.monotonic() < until:
        node.query(q, start=a.start, end=a.end, step=300, limit=1000)
        done.append(q)


def measure(node, a, load, queries):
    until = time.monotonic() + a.secs
    times, lags, done = [], [], []
    threads = [threading.Thread(target=light, args=(node, a, times, until)), threading.Thread(target=lag, args=(node, load, lags, until))]
    threads += [threading.Thread(target=heavy, args=(node, a, q, done, until)) for q in queries]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return dict(light_p50=percentile(times, 0.5), light_p99=percentile(times, 0.99), light_max=max(times) * 1000,
                lag_p50=percentile(lags, 0.5), lag_p99=percentile(lags, 0.99), heavy=len(done), asked=len(times))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--start", type=int, required=True)
    p.add_argument("--end", type=int, required=True)
    p.add_argument("--secs", type=float, default=30)
    p.add_argument("--tmp", default="/tmp")
    a = p.parse_args()
    root = os.path.join(a.tmp, "fairness-tree")
    load = Load(root)
    node = Node(a, root, a.data)
    try:
        time.sleep(1)
        rows = [("alone", measure(node, a, load, [])), ("beside four heavy", measure(node, a, load, HEAVY))]
        peak = node.mem("VmHWM")
    finally:
        load.stop.set()
        node.stop()
    for name, row in rows:
        print(name + ": " + ", ".join("%s %.0f" % (k, v) for k, v in row.items()))
    more = {k: rows[1][1][k] - rows[0][1][k] for k in ("light_p99", "lag_p99")}
    print("more, ms: light query %.0f, lag %.0f (due: at most 100); peak RSS %.1f MiB" % (more["light_p99"], more["lag_p99"], peak))
    raise SystemExit(any(v > 100 for v in more.values()))


if __name__ == "__main__":
    main()
