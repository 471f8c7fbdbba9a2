#!/usr/bin/env python3
"""Run the conformance corpus against drupelet and compare with the list of cases that pass.

    run.py BINARY [--shared DIR] [--update]

Starts `drupelet run` on an empty pods directory with the settings of the Loki that the corpus was recorded from, pushes
the corpus' data, and runs all cases twice: on what is in memory, and after a restart on what is on disk. A case passes
if it does so both times. Then each case runs once more alone, and the process may not grow by more than the memory that a
query may take. Fails if a case of passing.txt does not pass. Cases that pass and are not in the list are
named; --update adds them. The list only ever grows.
"""
import argparse
import gzip
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
LIST = os.path.join(HERE, "passing.txt")
START_SECONDS = 30
STOP_SECONDS = 30

# What a query may take by default (query_memory), KiB.
QUERY_MEMORY = 16 << 10

# Without a query frontend, as recorded; entries up to a day old and 20 minutes out of order. Nothing is removed because the
# machine it runs on has a full disk.
CONFIG = """\
max_disk: 0
min_free: 0
limits_config:
  align_queries_with_step: false
  fold_categorized_labels: true
  max_query_series: 500
  max_entries_limit_per_query: 5000
  max_query_length: 721h
  reject_old_samples_max_age: 24h
  max_chunk_age: 40m
"""


class Appliance:
    """A running drupelet; its own log is kept for when something fails."""

    def __init__(self, binary, root):
        config = os.path.join(root, "drupelet.yaml")
        with open(config, "w", encoding="ascii") as f:
            f.write(CONFIG)
        pods = os.path.join(root, "pods")
        os.makedirs(pods, exist_ok=True)
        args = [binary, "run", "--config", config, "--pods-dir", pods, "--data-dir", os.path.join(root, "data"), "--listen", "127.0.0.1:0"]
        env = {k: v for k, v in os.environ.items() if not k.startswith("DRUPELET_")}
        env["TZ"] = "UTC"
        self.process = subprocess.Popen(args, stderr=subprocess.PIPE, text=True, env=env)
        self.lines, self.addr, ready = [], None, threading.Event()

        def read():
            for line in self.process.stderr:
                self.lines.append(line)
                found = re.search(r"listening on ([0-9.]+:[0-9]+)", line)
                if found:
                    self.addr = found.group(1)
                    ready.set()
            ready.set()

        threading.Thread(target=read, daemon=True).start()
        ready.wait(START_SECONDS)
        if not self.addr:
            self.process.kill()
            raise SystemExit("drupelet does not start:\n" + "".join(self.lines))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = "none in time"
        if code != 0:
            raise SystemExit("drupelet ended with %s:\n%s" % (code, "".join(self.lines)))


def failures(corpus, addr, report, push):
    """Ids of the cases that fail."""
    # Without --push the runner pushes by itself if it finds no data, which would hide that they are lost.
    args = [sys.executable, os.path.join(corpus, "run.py"), "--url", "http://" + addr, "--report", report]
    done = subprocess.run(args + ["--push" if push else "--no-push"], stdout=subprocess.PIPE, text=True)
    print(done.stdout.strip().rsplit("\n", 1)[-1])
    if done.returncode not in (0, 1):
        raise SystemExit("the corpus could not be run:\n" + done.stdout)
    with open(report, encoding="utf-8") as f:
        return {failure["id"]: failure["why"] for failure in json.load(f)["failures"]}


def resident(pid, field):
    """VmRSS or VmHWM, KiB."""
    with open("/proc/%d/status" % pid, encoding="ascii", errors="replace") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(field))


def hungry(corpus, appliance):
    """Cases during which the process grew by more than a query may take. Needs the data on the server."""
    sys.path.insert(0, corpus)
    spec = importlib.util.spec_from_file_location("corpus", os.path.join(corpus, "run.py"))
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    server = runner.Server("http://" + appliance.addr, 60, None)
    base = runner.find_base(server)
    if base is None:
        raise SystemExit("the corpus' data is not on the server")
    pid, grown = appliance.process.pid, []
    idle = resident(pid, "VmRSS")
    for case in runner.load_cases([os.path.join(corpus, "cases.jsonl.gz")]):
        with open("/proc/%d/clear_refs" % pid, "w", encoding="ascii") as f:
            f.write("5")  # the highest so far is forgotten
        runner.perform(server, case, base)
        grown.append((resident(pid, "VmHWM") - idle, case["id"]))
    grown.sort(reverse=True)
    print("memory: idle %d KiB; most above it: %s" % (idle, ", ".join("%s %d KiB" % (case, kib) for kib, case in grown[:3])))
    return ["%s grew by %d KiB" % (case, kib) for kib, case in grown if kib > QUERY_MEMORY]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("binary")
    ap.add_argument("--shared", default=os.path.join(HERE, "../../../shared"), help="folder with conformance/")
    ap.add_argument("--update", action="store_true", help="add the cases that pass to the list")
    a = ap.parse_args()
    corpus = os.path.join(a.shared, "conformance")
    with gzip.open(os.path.join(corpus, "cases.jsonl.gz"), "rt", encoding="utf-8") as f:
        ids = [json.loads(line)["id"] for line in f if line.strip()]
    with open(LIST, encoding="ascii") as f:
        known = f.read().split()
    unknown = sorted(set(known) - set(ids))
    if unknown:
        raise SystemExit("passing.txt names cases that there are not: " + " ".join(unknown))

    failed = {}
    with tempfile.TemporaryDirectory() as root:
        for where in ("in memory", "on disk"):
            appliance = Appliance(os.path.abspath(a.binary), root)
            print(where, end=": ", flush=True)
            failed.update(failures(corpus, appliance.addr, os.path.join(root, "report.json"), where == "in memory"))
            if where == "on disk":
                over = hungry(corpus, appliance)
            appliance.stop()

    lost = [case for case in known if case in failed]
    new = sorted(set(ids) - set(known) - set(failed))
    for case in lost:
        print("LOST %s: %s" % (case, failed[case]))
    if new:
        print("%d more cases pass than are listed: %s" % (len(new), " ".join(new)))
        if a.update:
            with open(LIST, "w", encoding="ascii") as f:
                f.write("\n".join(sorted(known + new)) + "\n")
        else:
            print("add them with --update")
    for case in over:
        print("OVER THE BUDGET: " + case)
    print("%d of %d cases are listed, %d of those fail" % (len(known), len(ids), len(lost)))
    return 1 if lost or over else 0


if __name__ == "__main__":
    sys.exit(main())
