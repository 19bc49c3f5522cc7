"""Processes of this machine, seen while they come and go."""

import psutil


def command_of(process: psutil.Process) -> str:
    """Its command line; empty when it has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def alive(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended and is not yet waited for does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def child_at_work(words: str) -> psutil.Process:
    """This process's child whose command holds `words` and that is at work: the one in reserve is younger."""
    children = [one for one in psutil.Process().children() if words in command_of(one)]
    return min(children, key=lambda one: one.create_time())
