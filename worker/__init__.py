"""Runs jobs: claims them from the ledger, supervises a child process each, writes its records, reaps the lost.

The Celery process never imports torch; `worker.child`, a process of its own, is the only module that does.
"""
