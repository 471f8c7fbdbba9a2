#!/usr/bin/env python3
"""Makes an ext4 file system of its own on a loop device, so that its writes and flushes can be counted. Needs root.

    loopfs.py with SIZE_MIB COMMAND...   mounts, runs COMMAND with LOOPFS_DIR and LOOPFS_DEVICE set, cleans up
    loopfs.py up SIZE_MIB                mounts and prints DIR DEVICE IMAGE
    loopfs.py down DIR                   takes away what `up` made

The image is a sparse file in the temporary directory (TMPDIR). `with` cleans up also when it is interrupted, and exits
with the command's code.
"""

import os
import signal
import subprocess
import sys
import tempfile


def call(*command):
    """Runs a command, returns its output, and fails with it."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


def up(size_mib):
    """Makes and mounts the file system; returns its directory, device and image."""
    base = tempfile.mkdtemp(prefix="loopfs-")
    image, mount = os.path.join(base, "image"), os.path.join(base, "mount")
    os.mkdir(mount)
    device = None
    try:
        with open(image, "wb") as file:
            file.truncate(size_mib << 20)
        # Without lazy initialisation: the kernel would write to the device while something is measured.
        call("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
        device = call("losetup", "--find", "--show", image)
        call("mount", "-t", "ext4", device, mount)
    except (RuntimeError, OSError):
        if device:
            subprocess.run(["losetup", "--detach", device], check=False)
        remove(base)
        raise
    return mount, device, image


def down(mount):
    """Unmounts and removes what `up` made."""
    device = call("findmnt", "--noheadings", "--output", "SOURCE", mount)
    if not device.startswith("/dev/loop"):
        raise RuntimeError(f"{mount} is not a loop mount")
    call("umount", mount)
    call("losetup", "--detach", device)
    remove(os.path.dirname(os.path.abspath(mount)))


def remove(base):
    """Removes the directory of a file system that is not mounted (rmdir fails on one that is)."""
    mount, image = os.path.join(base, "mount"), os.path.join(base, "image")
    if os.path.isdir(mount):
        os.rmdir(mount)
    if os.path.exists(image):
        os.remove(image)
    os.rmdir(base)


def with_command(size_mib, command):
    """Runs a command on a file system of its own."""
    mount, device, _ = up(size_mib)
    try:
        # A signal becomes an exception, so that `finally` runs.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        environment = {**os.environ, "LOOPFS_DIR": mount, "LOOPFS_DEVICE": os.path.basename(device)}
        return subprocess.run(command, env=environment, check=False).returncode
    except KeyboardInterrupt:
        return 130
    finally:
        down(mount)


def main():
    """Dispatches."""
    args = sys.argv[1:]
    try:
        if len(args) >= 3 and args[0] == "with":
            sys.exit(with_command(int(args[1]), args[2:]))
        elif len(args) == 2 and args[0] == "up":
            print(*up(int(args[1])))
        elif len(args) == 2 and args[0] == "down":
            down(args[1])
        else:
            sys.exit(__doc__)
    except (RuntimeError, OSError) as error:
        print(f"loopfs: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
