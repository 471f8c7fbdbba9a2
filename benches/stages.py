"""Where the time of each reference query goes, in per cent of its samples.

  cargo build --profile profiling                       the shipped code with names and lines
  python3 benches/stages.py                            all queries over our own workload
  python3 benches/stages.py --only regex --data DIR --tree DIR     see queries.py for these
  python3 benches/stages.py --top 10                   also the ten functions that took most, with their stage

`perf record` takes whole stacks of the server while a query runs again and again, warm. Each frame is resolved to the lines it
stands for, inlined functions included (`addr2line`). The innermost line that STAGES knows decides: memory that a parser
takes, or a search that a filter makes, counts as parsing or filtering. What no rule knows is `other`; a stack that could not be
resolved at all is `?`. Needs root or kernel.perf_event_paranoid < 2, `perf` and `addr2line`.
"""
import collections, os, re, shutil, signal, subprocess, sys, tempfile, time

import queries
from node import HERE, Ground, Node, machine

# stage, regular expression for `path function` of a line; the first that fits. Paths are as the compiler saw them.
STAGES = [
    ("decompress", r"zstd|/block/decode\.rs .*(unpack|lines)|\b(ZSTD|HUF|FSE)_"),
    ("index", r"/rusqlite|sqlite3|store/src/index/|store/src/segment/|store/src/query/(select|listing)\.rs|store/src/codec\.rs"),
    ("read", r"disk/src/|xxhash|/pread|store/src/query/block\.rs .*column|segment/read\.rs .*(column|block)"),
    ("decode", r"store/src/block/|store/src/query/block\.rs"),
    ("output", r"store/src/http/|wire/src/json|hyper|tokio|http_body|httparse"),
    ("parse", r"logql/src/(pipeline/(json|logfmt|unpack|regexp|captures|unescape|unwrap|marks|names|wanted|scan)|pattern|template)"),
    ("filter", r"logql/src/(pipeline/(line|filter|ip|stage)|matcher|regexes|words)|store/src/query/chunk\.rs|logql/src/pipeline\.rs"),
    ("aggregate", r"logql/src/eval|store/src/query/(range|logs|duplicates|budget)\.rs"),
]
# Read first, since a section of a segment is a read as well.
ORDER = ["read", "decompress", "index", "decode", "filter", "parse", "aggregate", "output"]
COLUMNS = ["index", "read", "decompress", "decode", "filter", "parse", "aggregate", "output", "other", "?"]
RULES = [(stage, re.compile(dict(STAGES)[stage])) for stage in ORDER]


def stage_of(line):
    return next((stage for stage, rule in RULES if rule.search(line)), None)


class Symbols:
    """Addresses of a binary to the lines they stand for, innermost first."""

    def __init__(self, binary):
        self.binary, self.known = binary, {}

    def resolve(self, addresses):
        new = sorted(a for a in addresses if a not in self.known)
        if not new:
            return
        out = subprocess.run(["addr2line", "-e", self.binary, "-a", "-f", "-i", "-C"], input="".join("%#x\n" % a for a in new),
                             stdout=subprocess.PIPE, text=True, check=True).stdout.split("\n")
        at = None
        for i in range(len(out)):
            if re.fullmatch(r"0x[0-9a-f]{16}", out[i]):
                at, rest = int(out[i], 16), i + 1
                self.known[at] = []
            elif at is not None and (i - rest) % 2 == 1:
                self.known[at].append("%s %s" % (out[i].rsplit(":", 1)[0], out[i - 1]))


def loaded(binary):
    """Of each part that is loaded: its offsets in the file, and what to add for the address that debug information has."""
    out = subprocess.run(["readelf", "-lW", binary], stdout=subprocess.PIPE, text=True, check=True).stdout
    parts = []
    for line in out.split("\n"):
        word = line.split()
        if word and word[0] == "LOAD":
            offset, address, _, size = (int(x, 16) for x in word[1:5])
            parts.append((offset, offset + size, address - offset))
    return parts


def record(n, info, query, secs, out):
    """Stacks while the query runs for some seconds. How often it ran."""
    queries.ask(n, info, query)
    perf = subprocess.Popen(["perf", "record", "-q", "-F", "1499", "--call-graph", "dwarf,8192", "-m", "512", "-p", str(n.p.pid), "-o", out],
                            stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    runs, begun, cpu = 0, time.monotonic(), n.cpu()
    # By CPU, so that a busy machine does not shorten it.
    while n.cpu() - cpu < secs and time.monotonic() - begun < 40 * secs:
        queries.ask(n, info, query)
        runs += 1
    perf.send_signal(signal.SIGINT)
    perf.wait()
    return runs


def stacks(data):
    """Each sample as [(offset in its file, name, file)], innermost first."""
    text = subprocess.run(["perf", "script", "--no-inline", "-F", "ip,sym,dso", "-i", data], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    for sample in text.split("\n\n"):
        frames = [re.match(r"\s*([0-9a-f]+) (.*) \(([^()]*)\)$", line) for line in sample.split("\n") if line.strip()]
        if frames:
            yield [(int(f[1], 16), f[2], f[3]) for f in frames if f]


def shares(data, symbols):
    """Samples by stage, and by stage and innermost line of code that is not the standard library's."""
    parts = loaded(symbols.binary)

    def address(offset, file, caller):
        if os.path.realpath(file) != os.path.realpath(symbols.binary):
            return None
        # A return address is the instruction behind the call.
        return next((offset + plus - caller for start, stop, plus in parts if start <= offset < stop), None)

    places = [[(address(ip, file, i > 0), name) for i, (ip, name, file) in enumerate(frames)] for frames in stacks(data)]
    symbols.resolve({a for frames in places for a, _ in frames if a is not None})
    found, top = collections.Counter(), collections.Counter()
    for frames in places:
        lines = [line for at, name in frames for line in symbols.known.get(at, []) + ["? " + name]]
        known = [line for line in lines if "??" not in line and "[unknown]" not in line]
        stage = next((s for s in map(stage_of, lines) if s), "other" if known else "?")
        found[stage] += 1
        top[stage, next((x for x in known if not x.startswith("/rustc")), "?")] += 1
    return found, top


def short(line):
    path, _, name = line.partition(" ")
    return "%s %s" % ("/".join(path.split("/")[-3:]), name[:100])


def profiled(a, chosen):
    ground = Ground(a)
    root, info = ground.tree()
    n = Node(a, root, queries.data_of(ground, a), config=queries.CONFIG)
    m = machine()
    symbols = Symbols(a.bin)
    print("%s, kernel %s, commit %s, load %.1f; per cent of samples" % (m["cpu"], m["kernel"], m["commit"], m["load"][0]))
    print("%-17s %7s %7s  %s" % ("query", "runs", "samples", " ".join("%10s" % c for c in COLUMNS)))
    try:
        for query in chosen:
            data = os.path.join(a.tmp, "perf-%s.data" % query[0])
            runs = record(n, info, query, a.secs, data)
            found, top = shares(data, symbols)
            os.remove(data)
            total = sum(found.values()) or 1
            print("%-17s %7d %7d  %s" % (query[0], runs, total, " ".join("%10.1f" % (100 * found[c] / total) for c in COLUMNS)), flush=True)
            for (stage, line), count in top.most_common(a.top):
                print("    %5.1f  %-10s %s" % (100 * count / total, stage, short(line)))
    finally:
        n.stop()


def main():
    ap = queries.arguments(__doc__)
    ap.set_defaults(bin=os.path.join(HERE, "../target/profiling/drupelet"))
    ap.add_argument("--secs", type=float, default=1.5, help="CPU seconds to sample of each query (1.5)")
    ap.add_argument("--top", type=int, default=0)
    a = ap.parse_args()
    made, chosen = queries.prepare(a)
    try:
        profiled(a, chosen)
    finally:
        if made:
            shutil.rmtree(made, ignore_errors=True)


if __name__ == "__main__":
    main()
