"""Becomes another program that cannot outlive the process that started it. Run as a script, never imported.

    python -I -S tether.py '{"parent": 12, "signal": 15, "uid": 101, "gid": 104, "search": true}' program argument …

It may first become another user (`uid`, `gid`) who keeps, if `search` is true, the one right to look through folders that
are closed to it: a data folder below root's own 0700 folder is reached so, and no folder of others is opened.
Only the standard library, because it runs without site-packages, in 20 ms.
"""

import ctypes
import json
import os
import signal
import sys
import time
from types import FrameType

PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
CAPABILITY_VERSION_3 = 0x20080522


def main() -> None:
    """Drops to the user asked for, ties itself to its parent, and becomes the program."""
    terms, program = json.loads(sys.argv[1]), sys.argv[2:]
    if terms.get("uid") is not None:
        become(terms["uid"], terms["gid"], search=terms.get("search", False))
    if sys.platform == "linux":
        # After the change of user, which clears it.
        prctl(PR_SET_PDEATHSIG, terms["signal"])
        if os.getppid() != terms["parent"]:
            sys.exit("the process that started this one is gone")
        replace(program)
    stand_watch(program, terms["parent"], terms["signal"])


def become(uid: int, gid: int, *, search: bool) -> None:
    """Changes to the user; with `search`, keeps the narrowest capability that passes closed folders."""
    if search:
        prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if search and not (keep_only(CAP_DAC_READ_SEARCH) or keep_only(CAP_DAC_OVERRIDE)):
        sys.exit("this root may not pass on the right to search closed folders")


def keep_only(capability: int) -> bool:
    """Keeps one capability over the exec that follows; False where we do not have it."""
    mask = 1 << capability
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)  # effective, permitted, inheritable; then the high words
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, sets) != 0:
        return False
    return bool(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) == 0)


def prctl(option: int, value: int) -> None:
    """Linux's prctl; ends the process when it is refused."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        sys.exit(f"prctl {option}: {os.strerror(ctypes.get_errno())}")


def replace(program: list[str]) -> None:
    """Becomes the program."""
    try:
        os.execvp(program[0], program)  # noqa: S606 - the point of this script
    except OSError as error:
        sys.exit(f"{program[0]}: {error.strerror}")


def stand_watch(program: list[str], parent: int, death_signal: int) -> None:
    """Where the kernel sends no parent-death signal: stays between the two, hands signals on, and looks for the parent."""
    child = os.fork()
    if child == 0:
        replace(program)

    def hand_on(number: int, _frame: FrameType | None) -> None:
        os.kill(child, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, hand_on)
    told = False
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
        if not told and os.getppid() != parent:
            os.kill(child, death_signal)
            told = True
        time.sleep(0.2)


if __name__ == "__main__":
    main()
