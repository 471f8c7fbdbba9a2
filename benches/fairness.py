#!/usr/bin/env python3
"""Whether heavy queries delay a light one, or ingestion: 99th percentiles alone and beside four heavy queries.

  python3 benches/fairness.py                        over our own workload's big tree, about 2 minutes
  python3 benches/fairness.py --data DIR --tree DIR  a store made earlier (a copy of it), and its tree
  python3 benches/fairness.py --secs 60              each of the two measurements takes so long

The light query is the newest 100 lines of a namespace, asked ten times a second. A line is written to a pod log 500 times a second; how long one of a second takes
until a query finds it is the lag. The heavy queries are two of a regex over everything and two quantiles of parsed values,
each asked again when it ends. Due: at most 100 ms more."""

import os, shutil, threading, time

from node import Ground, Node, machine
from queries import arguments, data_of, prepare

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


def light(node, info, out, until):
    while time.monotonic() < until:
        t = time.monotonic()
        node.query('{namespace="shop"}', start=info["start"], end=info["end"] + 1, limit=100)
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


def heavy(node, info, q, done, until):
    while time.monotonic() < until:
        node.query(q, start=info["start"], end=info["end"] + 1, step=300, limit=1000)
        done.append(q)


def measure(node, info, load, queries, secs):
    until = time.monotonic() + secs
    times, lags, done = [], [], []
    threads = [threading.Thread(target=light, args=(node, info, times, until)), threading.Thread(target=lag, args=(node, load, lags, until))]
    threads += [threading.Thread(target=heavy, args=(node, info, q, done, until)) for q in queries]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return dict(light_p50=percentile(times, 0.5), light_p99=percentile(times, 0.99), light_max=max(times) * 1000,
                lag_p50=percentile(lags, 0.5), lag_p99=percentile(lags, 0.99), heavy=len(done), asked=len(times))


def both(a):
    """The light query and the lag alone, then beside heavy queries; and the highest memory."""
    ground = Ground(a)
    info, data = ground.tree()[1], data_of(ground, a)
    root = ground.dir("fairness-tree")
    load = Load(root)
    node = Node(a, root, data)
    try:
        time.sleep(1)
        return measure(node, info, load, [], a.secs), measure(node, info, load, HEAVY, a.secs), node.mem("VmHWM")
    finally:
        load.stop.set()
        node.stop()


def main():
    ap = arguments(__doc__)
    ap.add_argument("--secs", type=float, default=30)
    a = ap.parse_args()
    made, _ = prepare(a)
    try:
        alone, beside, peak = both(a)
    finally:
        if made:
            shutil.rmtree(made, ignore_errors=True)
    print("{cpu}, kernel {kernel}, commit {commit}, load {load[0]:.1f}; ms, {secs:g} s each".format(secs=a.secs, **machine()))
    for name, row in ("alone", alone), ("beside four heavy", beside):
        print(name + ": " + ", ".join("%s %.0f" % (k, v) for k, v in row.items()))
    more = {k: beside[k] - alone[k] for k in ("light_p99", "lag_p99")}
    print("more, ms: light query %.0f, lag %.0f (due: at most 100); peak RSS %.1f MiB" % (more["light_p99"], more["lag_p99"], peak))
    raise SystemExit(any(v > 100 for v in more.values()))


if __name__ == "__main__":
    main()
