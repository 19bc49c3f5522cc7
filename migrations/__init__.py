"""The schema's history: each step up and down, guarded by a lock and by timeouts."""
