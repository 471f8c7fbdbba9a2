#!/usr/bin/env python3
"""Samples what a process and a block device use, and prints one JSON object. Standard library only.

    sample.py --pid PID --seconds S [--interval S] [--device loop0]

All counters are differences over the run, sizes are bytes, times seconds:
  rss_last, rss_max         VmRSS at the end, the largest sample
  rss_anon_last, rss_hwm    RssAnon at the end, VmHWM (the kernel's own peak since the process started)
  cpu_user, cpu_system      of all threads, ended ones included; cpu_percent is of one core
  io_write_bytes            /proc/PID/io: bytes this process sent towards the disk
  device_*                  /sys/block/DEVICE/stat: writes completed, bytes written, flush requests
A process that ends early ends the run: "ended" is true and the counters are those of the last sample.
"""

import argparse
import json
import os
import sys
import time

TICK = os.sysconf("SC_CLK_TCK")
SECTOR = 512


def status(pid):
    """Sizes of /proc/PID/status in bytes."""
    sizes = {}
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if value.strip().endswith(" kB"):
                sizes[key] = int(value.split()[0]) * 1024
    return sizes


def cpu(pid):
    """User and system seconds of the whole process."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        # The name in parentheses may hold spaces.
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) / TICK, int(fields[12]) / TICK


def written(pid):
    """Bytes sent towards the disk, or None without the right to look."""
    try:
        with open(f"/proc/{pid}/io", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("write_bytes:"):
                    return int(line.split()[1])
    except PermissionError:
        pass
    return None


def device(name):
    """Writes completed, bytes written and flush requests of a block device."""
    with open(f"/sys/block/{name}/stat", encoding="ascii") as file:
        fields = [int(field) for field in file.read().split()]
    flushes = fields[15] if len(fields) > 15 else None
    return {"writes": fields[4], "bytes_written": fields[6] * SECTOR, "flushes": flushes}


def sample(pid):
    """One look at the process; None when it is gone."""
    try:
        sizes = status(pid)
        if "VmRSS" not in sizes:
            return None
        user, system = cpu(pid)
        return {"sizes": sizes, "user": user, "system": system, "written": written(pid)}
    except (FileNotFoundError, ProcessLookupError):
        return None


def difference(after, before):
    """`after - before`, or None when either is unknown."""
    return None if after is None or before is None else after - before


def run(pid, seconds, interval, name):
    """Samples until the time is over or the process is gone."""
    first = last = sample(pid)
    if first is None:
        sys.exit(f"sample.py: no process {pid}")
    device_first = device(name) if name else None
    start = time.monotonic()
    rss_max, samples, ended = first["sizes"]["VmRSS"], 1, False
    while time.monotonic() - start < seconds:
        time.sleep(max(0.0, min(interval, seconds - (time.monotonic() - start))))
        now = sample(pid)
        if now is None:
            ended = True
            break
        last, samples = now, samples + 1
        rss_max = max(rss_max, now["sizes"]["VmRSS"])
    elapsed = time.monotonic() - start
    user, system = last["user"] - first["user"], last["system"] - first["system"]
    result = {
        "seconds": round(elapsed, 3),
        "samples": samples,
        "ended": ended,
        "rss_last": last["sizes"]["VmRSS"],
        "rss_max": rss_max,
        "rss_anon_last": last["sizes"].get("RssAnon"),
        "rss_hwm": last["sizes"].get("VmHWM"),
        "cpu_user": round(user, 3),
        "cpu_system": round(system, 3),
        "cpu_percent": round(100 * (user + system) / elapsed, 3) if elapsed else None,
        "io_write_bytes": difference(last["written"], first["written"]),
    }
    if name:
        for key, value in device(name).items():
            result["device_" + key] = difference(value, device_first[key])
    return result


def main():
    """Parses the arguments and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--interval", type=float, default=0.1)
    parser.add_argument("--device", help="name below /sys/block, as loop0")
    args = parser.parse_args()
    device_name = os.path.basename(args.device) if args.device else None
    print(json.dumps(run(args.pid, args.seconds, args.interval, device_name), indent=1))


if __name__ == "__main__":
    main()
