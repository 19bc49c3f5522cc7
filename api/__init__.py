"""The HTTP interface: parse, call one function, reply. Never loads torch."""
