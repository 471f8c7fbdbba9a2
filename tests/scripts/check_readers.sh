#!/bin/sh
# Reads pod logs under what container runtimes and limits do to io_uring: it must read on, and say why it chose what.
# Needs root (to become another user), setpriv, python3, and a temporary directory on ext4 or XFS.
# Usage: check_readers.sh TEST_BINARY   (the `readers` integration test of the agent, as cargo test --no-run names it)
set -eu

test_binary=$1
scripts=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 777 "$work"
# The unprivileged runs below may not be able to enter the build directory.
install -m 755 "$test_binary" "$work/readers"
export TMPDIR="$work"

expect() {
    echo "reader $1, reason $2: $3"
    shift_reader=$1
    shift_reason=$2
    shift 3
    DRUPELET_EXPECT_READER=$shift_reader DRUPELET_EXPECT_REASON=$shift_reason \
        timeout 60 "$@" "$work/readers" --exact auto_reads_whatever_the_kernel_allows | grep -q '^test result: ok. 1 passed'
}

limited() {
    limit=$1
    shift
    # shellcheck disable=SC3045
    (ulimit -l "$limit" && expect "$@")
}

user="setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps -all"
deny="python3 $scripts/deny_io_uring.py"

expect uring ring_works "no filter, no limit" env
for calls in setup register enter all; do
    expect pread seccomp "EPERM from $calls (containerd 2, Docker 25)" $deny EPERM "$calls" --
done
expect pread absent "ENOSYS from all (podman, CRI-O)" $deny ENOSYS all --
limited 0 pread memory_lock "no locked memory" $user
limited 64 uring ring_works_unregistered "64 KiB of locked memory" $user
limited 8192 uring ring_works "8 MiB of locked memory" $user
