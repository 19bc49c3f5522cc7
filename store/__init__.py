"""The floor that api and worker share: tables and queries, one query a function, connection first."""
