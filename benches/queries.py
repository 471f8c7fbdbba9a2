"""What the reference queries cost, each as a multiple of Y, the CPU time of `zstd -dc | rg -c` over the same lines.

  image/build.sh                                            the static binary, as it is shipped
  python3 benches/queries.py                                all of them over our own workload's big tree, about 3 minutes
  python3 benches/queries.py --tmp DIR                      keeps tree, store and frames in DIR, and uses them again
  python3 benches/queries.py --data DIR --tree DIR          a store made earlier (a copy of it; --in-place: itself), and its tree
  python3 benches/queries.py --workload DIR                 another workload: DIR/tree.py, same flags
  python3 benches/queries.py --compare OTHER_BINARY         both over the same data, taking turns query by query
  python3 benches/queries.py --cold                         also: what each reads from the device when nothing is cached
  sudo python3 benches/queries.py --cold --read-ahead 128   the same as with a card's read-ahead, on a loop device of its own

One run to warm, then the median of seven: CPU of the whole server process, and wall time as this client sees it. Memory is
the highest while that query ran (VmHWM, reset before each). Y is measured in the same run, before and after. Beside other
load compare two binaries with --compare, and take the least (--least) instead of the median.

Python 3 standard library, `zstd` and `rg`. --cold needs the store on a real block device, not tmpfs.
"""
import argparse, glob, json, os, platform, shutil, statistics, sys, tempfile, time

import loopfs
from node import ALL, HERE, Ground, Node, machine

# Clients of the JSON logs: more than the default allows.
CONFIG = "limits_config:\n  max_query_series: 5000\n"
JSON, LOGFMT, SHOP = '{app=~"json-.*"}', '{app=~"logfmt-.*"}', '{namespace="shop"}'
LIMIT = dict(limit=1000)
# name, kind, query, parameters
QUERIES = [
    ("labels", "labels", None, {}),
    ("label_values", "values", "namespace", {}),
    ("tail1000", "range", SHOP, LIMIT),
    ("needle0", "range", ALL + ' |= "needle-absent-0d4b77"', LIMIT),
    ("needle5", "range", ALL + ' |= "needle-7f3a9c21e5"', LIMIT),
    ("regex", "range", ALL + " |~ `status=50[03] .*duration=[0-9]{3}`", LIMIT),
    ("regex_ci", "range", ALL + " |~ `(?i)FATAL.*exception`", LIMIT),
    ("histogram", "range", "sum by (namespace)(count_over_time(%s[5m]))" % ALL, dict(step=300)),
    ("histogram_filter", "range", 'sum by (namespace)(count_over_time(%s |= "error"[5m]))' % ALL, dict(step=300)),
    ("histogram_ns", "range", "sum by (detected_level)(count_over_time(%s[1m]))" % SHOP, dict(step=60)),
    ("json_status", "range", JSON + " | json | status>=500", LIMIT),
    ("json_rate", "range", "sum by (app)(rate(%s | json | status>=500 [5m]))" % JSON, dict(step=300)),
    ("logfmt_rate", "range", "sum by (app)(rate(%s | logfmt | status>=500 [5m]))" % LOGFMT, dict(step=300)),
    ("topk_pod", "instant", "topk(10, sum by (pod)(rate(%s[24h])))" % ALL, {}),
    ("topk_json_client", "instant", "topk(10, sum by (client)(count_over_time(%s | json [24h])))" % JSON, {}),
    ("quantile_unwrap", "range", "quantile_over_time(0.95, %s | json | unwrap duration_ms [5m]) by (app)" % JSON, dict(step=300)),
]
# Most CPU in Y: due, aim. Of tail1000 wall ms.
DUE = {
    "tail1000": (10, 4), "needle0": (0.08, 0.02), "needle5": (0.12, 0.04), "regex": (1.1, 0.5), "regex_ci": (1.1, 0.5),
    "histogram": (0.05, 0.01), "histogram_filter": (1.1, 0.8), "histogram_ns": (0.02, 0.005), "json_status": (0.5, 0.3),
    "json_rate": (0.6, 0.4), "logfmt_rate": (0.6, 0.4), "topk_pod": (0.05, 0.01), "topk_json_client": (0.7, 0.45),
    "quantile_unwrap": (0.8, 0.5),
}
RSS_DUE, RSS_AIM = 40, 28  # MiB
COLD_DUE = 1.3  # bytes read from the device for a byte of the columns and sections that a query used


def ask(n, info, query):
    """The answer to a reference query, as it comes."""
    _, kind, text, params = query
    span = dict(start=info["start"], end=info["end"] + 1)
    if kind == "labels":
        return n.get("/loki/api/v1/labels", **span)
    if kind == "values":
        return n.get("/loki/api/v1/label/%s/values" % text, **span)
    if kind == "instant":
        return n.get("/loki/api/v1/query", query=text, time=info["end"] + 1)
    return n.get("/loki/api/v1/query_range", query=text, **span, **params)


def describe(body):
    """What an answer holds: how much of what, its statistics."""
    data = json.loads(body)["data"]
    if isinstance(data, list):
        return dict(bytes=len(body), results="%d names" % len(data))
    result, kind = data["result"], data["resultType"]
    if kind == "streams":
        results = "%d lines" % sum(len(s["values"]) for s in result)
    elif kind == "matrix":
        points = [float(v) for s in result for _, v in s["values"]]
        results = "%d series, %d points, sum %.6g" % (len(result), len(points), sum(points))
    else:
        results = "%d series, first %s" % (len(result), result[0]["value"][1] if result else "none")
    summary, store = data["stats"]["summary"], data["stats"]["querier"]["store"]
    return dict(bytes=len(body), results=results, lines=summary["totalLinesProcessed"], raw=summary["totalBytesProcessed"],
                chunks=store["totalChunksRef"], chunks_read=store["totalChunksDownloaded"], columns=store["chunk"]["compressedBytes"])


def reset_peak(n):
    with open("/proc/%d/clear_refs" % n.p.pid, "w") as f:
        f.write("5")


def measure(nodes, info, chosen, runs, middle=statistics.median):
    """Each query on each node, the nodes taking turns. One {name: row} for each node."""
    found = [{} for _ in nodes]
    for query in chosen:
        taken = [[] for _ in nodes]
        for n, rows in zip(nodes, found):
            reset_peak(n)
            rows[query[0]] = describe(ask(n, info, query))
        for _ in range(runs):
            for n, times in zip(nodes, taken):
                c, t = n.cpu(), time.monotonic()
                ask(n, info, query)
                wall = time.monotonic() - t
                times.append((1e3 * (n.cpu() - c), 1e3 * wall))
        for n, rows, times in zip(nodes, found, taken):
            rows[query[0]].update(cpu_ms=middle([x[0] for x in times]), wall_ms=middle([x[1] for x in times]), rss_mib=n.mem("VmHWM"))
    for n in nodes:
        if n.lines_in():
            raise SystemExit("%d lines came in meanwhile: the store was not made from this tree" % n.lines_in())
    return found


def number(x):
    return "%.3f" % x if x < 1 else "%.2f" % x if x < 10 else "%.1f" % x


def print_rows(rows, y):
    print("%-17s %8s %7s %7s %7s %9s %7s %9s  %-9s %s" % ("query", "CPU ms", "Y", "due", "aim", "wall ms", "MiB", "bytes", "raw MB", "answer"))
    for name, row in rows.items():
        value = row["wall_ms"] if name == "tail1000" else row["cpu_ms"] / y
        due, aim = DUE.get(name, (None, None))
        unit = " ms" if name == "tail1000" else ""
        over = "OVER" if due and value > due else "" if not aim or value > aim else "aim"
        row.update(y=row["cpu_ms"] / y, ok=over != "OVER")
        print("%-17s %8.1f %7s %7s %7s %9.1f %7.1f %9d  %-9s %s%s" % (
            name, row["cpu_ms"], number(row["y"]), "%g%s" % (due, unit) if due else "", "%g%s" % (aim, unit) if aim else "", row["wall_ms"],
            row["rss_mib"], row["bytes"], "%.1f" % (row["raw"] / 1e6) if "raw" in row else "", row["results"], over and "  " + over), flush=True)
    peak = max(row["rss_mib"] for row in rows.values())
    print("%-17s %.1f MiB, due %g, aim %g%s" % ("rss_queries", peak, RSS_DUE, RSS_AIM, "  OVER" if peak > RSS_DUE else ""), flush=True)


def print_comparison(first, second):
    print("\n%-17s %10s %10s %8s   %s" % ("query", "CPU ms", "other", "ratio", "memory MiB"))
    for name, a in first.items():
        b = second[name]
        same = "" if a["results"] == b["results"] else "  ANSWERS DIFFER: %s | %s" % (a["results"], b["results"])
        print("%-17s %10.1f %10.1f %8.3f   %.1f | %.1f%s" % (name, a["cpu_ms"], b["cpu_ms"], a["cpu_ms"] / b["cpu_ms"], a["rss_mib"], b["rss_mib"], same))


def block_device(path):
    """Name of the block device below a directory, if it is one."""
    dev = os.stat(path).st_dev
    link = "/sys/dev/block/%d:%d" % (os.major(dev), os.minor(dev))
    return os.path.basename(os.path.realpath(link)) if os.path.exists(link) else None


def forget(data):
    """Drops the data directory's files from the page cache. Not all of the cache: that would add the program's own pages to
    what a query reads, and take every other process's."""
    for dirpath, _, names in os.walk(data):
        for name in names:
            fd = os.open(os.path.join(dirpath, name), os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def cold(n, info, chosen, rows):
    """Bytes that each query reads from the device, beside those of the columns and of the sections (chunk and minute tables,
    skip index) that it used, as the server counts them."""
    device = block_device(n.data)
    if device is None:
        raise SystemExit("--cold: %s is not on a block device; choose another --tmp" % n.data)
    ahead = glob.glob("/sys/block/%s/queue/read_ahead_kb" % device) or glob.glob("/sys/block/*/%s/../queue/read_ahead_kb" % device)
    print("\ncold, on %s, read-ahead %s KiB" % (device, open(ahead[0]).read().strip() if ahead else "?"))
    print("%-17s %10s %12s %12s %12s %8s  due %g" % ("query", "wall ms", "read", "columns", "sections", "ratio", COLD_DUE))

    def used():
        return [n.metric('drupelet_query_stored_bytes_total{part="%s"}' % part) for part in ("columns", "sections")]

    def read_bytes():
        with open("/proc/%d/io" % n.p.pid) as f:
            return int(f.read().split("read_bytes:")[1].split()[0])

    for query in chosen:
        row, name = rows[query[0]], query[0]
        before = used()
        ask(n, info, query)
        columns, sections = (int(b - a) for a, b in zip(before, used()))
        forget(n.data)
        r, t = read_bytes(), time.monotonic()
        ask(n, info, query)
        row.update(cold_wall_ms=1e3 * (time.monotonic() - t), cold_read=read_bytes() - r, cold_columns=columns, cold_sections=sections)
        ratio = row["cold_read"] / (columns + sections) if columns + sections else None
        over = "  OVER" if ratio and ratio > COLD_DUE else ""
        print("%-17s %10.1f %12d %12d %12d %8s%s" % (name, row["cold_wall_ms"], row["cold_read"], columns, sections, number(ratio) if ratio else "-", over), flush=True)


def cold_on_loop(a, root, info, chosen, rows, data):
    """The same on a device of our own with the read-ahead that was asked for: most cards have 128 KiB."""
    size = sum(os.path.getsize(os.path.join(d, f)) for d, _, names in os.walk(data) for f in names)
    mount, device, _ = loopfs.up(size // 2**20 + 256)
    try:
        with open("/sys/block/%s/queue/read_ahead_kb" % os.path.basename(device), "w") as f:
            f.write(str(a.read_ahead))
        n = Node(a, root, copy(data, mount + "/data"), config=CONFIG)
        try:
            cold(n, info, chosen, rows)
        finally:
            n.stop()
    finally:
        loopfs.down(mount)


def data_of(ground, a):
    """The store's directory: made from the tree, or a copy of that given."""
    if a.data and a.in_place:
        return os.path.abspath(a.data)
    if a.data:
        return copy(a.data, ground.dir("store") + "/data")
    made = os.path.join(a.tmp, "store/data")
    return made if os.path.exists(os.path.join(made, "segments")) else ground.store()


def copy(data, to):
    shutil.copytree(data, to)
    return to


def arguments(doc):
    """The options that choose binary, data and queries."""
    ap = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--bin", default=os.path.join(HERE, "../target/%s-unknown-linux-gnu/release/drupelet" % platform.machine()))
    ap.add_argument("--workload", help="directory with tree.py")
    ap.add_argument("--tree", help="a tree made earlier (with its info.json)")
    ap.add_argument("--data", help="a store over that tree made earlier; a copy is used")
    ap.add_argument("--in-place", action="store_true", help="use --data itself")
    ap.add_argument("--mib", type=float, default=512, help="size of the tree, MiB raw (512)")
    ap.add_argument("--only", help="some queries, by name, with commas")
    ap.add_argument("--tmp", help="working directory (a new temporary one)")
    ap.add_argument("--json", help="results to this file, too")
    return ap


def prepare(a):
    """Resolves options: (directory to remove at the end, the chosen queries)."""
    a.bin = os.path.abspath(a.bin)
    made = None if a.tmp else tempfile.mkdtemp(prefix="drupelet-bench-")
    a.tmp = os.path.abspath(a.tmp or made)
    names = a.only.split(",") if a.only else [q[0] for q in QUERIES]
    unknown = set(names) - {q[0] for q in QUERIES}
    if unknown:
        raise SystemExit("no query is called %s; there are %s" % (", ".join(unknown), ", ".join(q[0] for q in QUERIES)))
    return made, [q for q in QUERIES if q[0] in names]


def measured(a, chosen):
    ground = Ground(a)
    root, info = ground.tree()
    data = data_of(ground, a)
    bins = [a.bin] + ([os.path.abspath(a.compare)] if a.compare else [])
    copies = [data] + [copy(data, ground.dir("store-of-other") + "/data") for _ in bins[1:]]
    middle = min if a.least else statistics.median
    doc = dict(machine(), mib=a.mib, workload="reference" if a.workload else a.tree or "own")
    ys = ground.y_runs(root, 4)
    nodes = []
    try:
        for binary, where in zip(bins, copies):
            nodes.append(Node(argparse.Namespace(bin=binary, tmp=a.tmp), root, where, config=CONFIG))
        found = measure(nodes, info, chosen, a.runs, middle)
        ys += ground.y_runs(root, 4)
        y = middle(ys)
        print("%s, kernel %s, commit %s, load %.1f to %.1f; Y = %.0f ms (%.0f to %.0f); %s of %d" % (
            doc["cpu"], doc["kernel"], doc["commit"], doc["load"][0], os.getloadavg()[0], y, min(ys), max(ys), "least" if a.least else "median", a.runs))
        print_rows(found[0], y)
        if a.compare:
            print("\n%s:" % a.compare)
            print_rows(found[1], y)
            print_comparison(*found)
        if a.cold and not a.read_ahead:
            cold(nodes[0], info, chosen, found[0])
    finally:
        for n in nodes:
            n.stop()
    if a.cold and a.read_ahead:
        cold_on_loop(a, root, info, chosen, found[0], data)
    return dict(doc, y_ms=y, y_runs=ys, runs=a.runs, rows=found[0], **(dict(other=found[1]) if a.compare else {}))


def main():
    ap = arguments(__doc__)
    ap.add_argument("--compare", metavar="BIN", help="another binary, over a copy of the same data")
    ap.add_argument("--runs", type=int, default=7)
    ap.add_argument("--least", action="store_true", help="the least instead of the median")
    ap.add_argument("--cold", action="store_true", help="also bytes read from the device, with nothing cached")
    ap.add_argument("--read-ahead", type=int, metavar="KIB", help="with --cold: on a loop device of its own with this read-ahead; root")
    ap.add_argument("--check", action="store_true", help="exit 1 if memory is over what is due (times never fail)")
    a = ap.parse_args()
    made, chosen = prepare(a)
    try:
        doc = measured(a, chosen)
    finally:
        if made:
            shutil.rmtree(made, ignore_errors=True)
    if a.json:
        with open(a.json, "w") as f:
            json.dump(doc, f, indent=1)
            f.write("\n")
    peak = max(row["rss_mib"] for row in doc["rows"].values())
    if a.check and peak > RSS_DUE:
        sys.exit("rss_queries is %.1f MiB, due are %g" % (peak, RSS_DUE))


if __name__ == "__main__":
    main()
