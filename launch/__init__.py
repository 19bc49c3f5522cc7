"""Finds or starts PostgreSQL and Redis, starts the processes of the lab, and looks after them.

It starts `api` and `worker` as processes and imports neither.
"""
