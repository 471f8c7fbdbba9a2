#!/usr/bin/env python3
"""What `drupelet query --pods-dir` costs, against ripgrep over the same files in the same run.

  python3 benches/pods.py --bin target/release/drupelet [--mib 256] [--runs 5] [--root DIR]

Two folders of the same invented lines (workload.py): `plain`, one file a container, and `rotated`, as a kubelet leaves
them: a live file, a plain rotated one, three compressed ones. CPU is user + system time of the process; both programs find
the files in the page cache. rg uses one thread. Python 3 and ripgrep.
"""
import argparse, gzip, os, platform, shutil, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ALL = '{namespace=~".+"}'
ROWS = [
    # name, folder, rg's arguments, the query's
    ("needle absent", "plain", ["-c", "needle-absent-0d4b77"], [ALL + ' |= "needle-absent-0d4b77"']),
    ("needle absent", "rotated", ["-zc", "needle-absent-0d4b77"], [ALL + ' |= "needle-absent-0d4b77"']),
    ("regex, few", "plain", ["-c", "evicted 9[0-9]{3} .* evicted 9"], [ALL + ' |~ "evicted 9[0-9]{3} .* evicted 9"']),
    ("count errors", "plain", ["-c", "error"], ["sum(count_over_time(%s |= `error` [48h]))" % ALL]),
    ("count all", "plain", ["-c", ""], ["sum(count_over_time(%s[48h]))" % ALL]),
    ("count all", "rotated", ["-zc", ""], ["sum(count_over_time(%s[48h]))" % ALL]),
    ("histogram by level", "plain", None, ["--step", "10m", "sum by (detected_level) (count_over_time(%s[10m]))" % ALL]),
    ("status of JSON", "plain", None, ['sum by (status) (count_over_time({container=~"json.+"} | json [48h]))']),
    ("newest 30", "plain", None, []),
    ("newest 30", "rotated", None, []),
    ("newest 1000 errors", "rotated", None, ["--limit", "1000", ALL + " |= `error`"]),
    ("ten minutes", "plain", None, ["--from", "2026-11-20T03:00:00Z", "--to", "2026-11-20T03:10:00Z", ALL + " |= `error`"]),
]


def rotate(plain, to):
    """The same lines as a kubelet leaves them."""
    for dirpath, _, names in os.walk(os.path.join(plain, "var/log/pods")):
        target = os.path.join(to, os.path.relpath(dirpath, plain))
        os.makedirs(target, exist_ok=True)
        for name in names:
            lines = open(os.path.join(dirpath, name), "rb").readlines()
            parts = [lines[len(lines) * i // 5:len(lines) * (i + 1) // 5] for i in range(5)]
            for i, part in enumerate(p for p in parts if p):
                age = sum(1 for p in parts if p) - 1 - i
                path = os.path.join(target, name if age == 0 else "%s.20261120-%06d" % (name, i))
                data = b"".join(part)
                with (gzip.open(path + ".gz", "wb", 6) if age > 1 else open(path, "wb")) as f:
                    f.write(data)
                path += ".gz" if age > 1 else ""
                # As old as its last line: 2026-11-20T03:10:00Z.
                at = time.mktime(time.strptime(part[-1][:19].decode(), "%Y-%m-%dT%H:%M:%S")) - time.timezone
                os.utime(path, (at, at))


def cost(argv, runs):
    """Median CPU ms, median wall ms, peak MiB."""
    cpu, wall, peak = [], [], 0
    for _ in range(runs):
        began = time.monotonic()
        child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # The peak of rusage counts this process's own memory, before the other is loaded.
        while True:
            pid, status, used = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            with open("/proc/%d/status" % child.pid) as f:
                peak = max([peak] + [int(x.split()[1]) / 1024 for x in f if x.startswith("VmHWM")])
            time.sleep(0.002)
        # ripgrep says 1 when nothing was found.
        if os.waitstatus_to_exitcode(status) > 1:
            sys.exit("%s: status %d" % (argv, status))
        child.returncode = 0
        wall.append((time.monotonic() - began) * 1000)
        cpu.append((used.ru_utime + used.ru_stime) * 1000)
    return statistics.median(cpu), statistics.median(wall), peak


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", default="target/release/drupelet")
    p.add_argument("--mib", type=int, default=256)
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--root", help="keep the folders here, and use them again")
    a = p.parse_args()
    root = a.root or tempfile.mkdtemp(prefix="drupelet-pods-")
    plain, rotated = (os.path.join(root, n) for n in ("plain", "rotated"))
    if not os.path.exists(rotated):
        subprocess.run([sys.executable, os.path.join(HERE, "workload.py"), "tree", "--mib", str(a.mib), "--hours", "24",
                        "--end", "2026-11-20T09:00:00Z", "--root", plain], check=True, stdout=subprocess.DEVNULL)
        # In a process of its own: what this one holds counts as a child's peak.
        if os.fork() == 0:
            rotate(plain, rotated)
            os._exit(0)
        if os.wait()[1]:
            sys.exit("cannot write %s" % rotated)
    size = lambda d: sum(os.path.getsize(os.path.join(p, f)) for p, _, fs in os.walk(d) for f in fs) / 2**20
    commit = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout
    print("kernel %s, commit %s, load %.1f" % (platform.release(), commit.strip(), os.getloadavg()[0]))
    print("plain %.0f MiB, rotated %.0f MiB, %d runs, medians" % (size(plain), size(rotated), a.runs))
    print("%-20s %-8s %22s %32s" % ("", "", "rg, CPU / wall ms", "drupelet, CPU / wall ms, peak MiB"))
    for name, folder, rg, query in ROWS:
        pods = os.path.join(root, folder)
        them = cost(["rg", "-j1", "--no-ignore", "-a"] + rg + [pods], a.runs) if rg else None
        us = cost([a.bin, "query", "--pods-dir", pods] + query, a.runs)
        left = "%.0f / %.0f" % them[:2] if them else "-"
        times = "  x %.1f" % (us[0] / them[0]) if them else ""
        print("%-20s %-8s %22s %18.0f / %.0f, %.1f%s" % (name, folder, left, us[0], us[1], us[2], times), flush=True)
    if not a.root:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
