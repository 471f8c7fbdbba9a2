"""A disk that runs full while drupelet writes to it: it says so, stops taking lines, tears nothing, and goes on by itself
when space is free again; every line is there in the end, once.

  python3 tests/scripts/full_disk.py target/release/drupelet        (root: mounts an ext4 of its own on a loop device)
"""
import json, os, signal, subprocess, sys, tempfile, time, urllib.parse, urllib.request

BIN = os.path.abspath(sys.argv[1])
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT + "/benches")
import loopfs  # noqa: E402


def run(*cmd):
    return subprocess.run(cmd, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def wait(what, probe, limit=90):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        got = probe()
        if got:
            return got
        time.sleep(0.1)
    raise SystemExit("gave up: " + what)


def main():
    tmp = tempfile.mkdtemp(prefix="drupelet-full-")
    log = tmp + "/log"
    run("python3", ROOT + "/benches/workload.py", "tree", "--mib", "24", "--hours", "2", "--end",
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "--root", tmp + "/tree")
    with open(tmp + "/tree/info.json") as f:
        lines = json.load(f)["lines"]
    mnt, _, _ = loopfs.up(24)
    process = None
    try:
        space = os.statvfs(mnt)
        with open(mnt + "/filler", "wb") as f:
            f.write(b"x" * (space.f_bfree * space.f_frsize - (4 << 20)))

        def start():
            p = subprocess.Popen([BIN, "run", "--pods-dir", tmp + "/tree/var/log/pods", "--data-dir", mnt + "/data",
                                  "--listen", "127.0.0.1:0"], stderr=open(log, "a"))
            mark = os.path.getsize(log)
            return p, wait("the address", lambda: next((x.split(" addr=")[1].split()[0] for x in open(log).read()[mark:].split("\n") if " addr=" in x), None))

        process, addr = start()

        def get(path):
            with urllib.request.urlopen("http://" + addr + path, timeout=20) as r:
                return r.read().decode()

        def metric(name):
            return sum(float(x.rsplit(" ", 1)[1]) for x in get("/metrics").split("\n") if x.startswith(name))

        def count():
            q = urllib.parse.quote('sum(count_over_time({namespace=~".+"}[6h]))')
            res = json.loads(get("/loki/api/v1/query?query=" + q))["data"]["result"]
            return int(res[0]["value"][1]) if res else 0

        wait("a refused write", lambda: metric("drupelet_store_flush_errors_total") > 0)
        text = open(log).read()
        if "full" not in text and "space" not in text:
            raise SystemExit("the log does not speak of a full disk:\n" + text)
        if process.poll() is not None:
            raise SystemExit("the process ended on a full disk")
        print("full: %d of %d lines taken, still answering" % (count(), lines))
        process.send_signal(signal.SIGKILL)  # nothing may be torn
        process.wait()
        process, addr = start()
        wait("a refused write again", lambda: metric("drupelet_store_flush_errors_total") > 0)
        os.remove(mnt + "/filler")
        wait("all lines after space was freed", lambda: count() == lines)
        time.sleep(1)
        if count() != lines:
            raise SystemExit("%d lines of %d" % (count(), lines))
        process.send_signal(signal.SIGTERM)
        if process.wait(20):
            raise SystemExit("it ended with %d" % process.returncode)
        print(run(BIN, "segments", "verify", "--data-dir", mnt + "/data").split("\n")[-1])
        print("freed: %d of %d lines, each once" % (lines, lines))
    finally:
        if process and process.poll() is None:
            process.kill()
            process.wait()
        loopfs.down(mnt)
        subprocess.run(["rm", "-rf", tmp])


if __name__ == "__main__":
    main()
