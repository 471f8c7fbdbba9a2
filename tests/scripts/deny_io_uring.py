#!/usr/bin/env python3
"""Runs a command under a seccomp filter that refuses io_uring, as container runtimes do.

    deny_io_uring.py EPERM|ENOSYS [setup|enter|register|all] -- COMMAND...

EPERM is what containerd 2 and Docker 25 answer, ENOSYS what podman and CRI-O answer. With "enter" or "register" only
that call is refused: a ring can be made and then not be used. Needs no root (it sets no-new-privileges). Its exit code
is the command's; 125 when the filter cannot be set.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
RET_ALLOW = 0x7FFF0000
RET_ERRNO = 0x00050000
LOAD_WORD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
# The numbers are the same on every architecture since they are from the unified table.
CALLS = {"setup": 425, "enter": 426, "register": 427}
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def program(calls, error):
    """The filter: allow other architectures and other calls, answer `error` to `calls`."""
    steps = [
        (LOAD_WORD, 0, 0, 4),
        (JUMP_EQUAL, 0, len(calls) + 1, ARCHITECTURES[platform.machine()]),
        (LOAD_WORD, 0, 0, 0),
    ]
    for i, call in enumerate(calls):
        steps.append((JUMP_EQUAL, len(calls) - i, 0, call))
    steps.append((RETURN, 0, 0, RET_ALLOW))
    steps.append((RETURN, 0, 0, RET_ERRNO | error))
    return b"".join(struct.pack("HBBI", *step) for step in steps), len(steps)


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def install(calls, error):
    """Installs the filter for this process and what it executes."""
    libc = ctypes.CDLL(None, use_errno=True)
    code, steps = program(calls, error)
    for args in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(Program(steps, code)), 0, 0),
    ):
        if libc.prctl(*args) != 0:
            raise OSError(ctypes.get_errno(), "prctl: " + os.strerror(ctypes.get_errno()))


def verify(calls, error):
    """The calls answer as asked: a filter that does nothing would let every test pass."""
    libc = ctypes.CDLL(None, use_errno=True)
    for call in calls:
        result = libc.syscall(call, -1, 0, 0, 0, 0, 0)
        if result != -1 or ctypes.get_errno() != error:
            raise OSError(0, f"system call {call} is not refused")


def main():
    """Parses the arguments, installs the filter and executes the command."""
    args = sys.argv[1:]
    if "--" not in args or args.index("--") not in (1, 2) or args[0] not in ("EPERM", "ENOSYS"):
        sys.exit(__doc__)
    split = args.index("--")
    which = args[1] if split == 2 else "setup"
    if which not in (*CALLS, "all") or not args[split + 1 :]:
        sys.exit(__doc__)
    calls = list(CALLS.values()) if which == "all" else [CALLS[which]]
    error = getattr(errno, args[0])
    try:
        install(calls, error)
        verify(calls, error)
    except (OSError, KeyError) as problem:
        print(f"deny_io_uring: cannot set the filter: {problem}", file=sys.stderr)
        sys.exit(125)
    os.execvp(args[split + 1], args[split + 1 :])


if __name__ == "__main__":
    main()
