"""What can keep the lab from starting, each in one line that says what to do.

LaunchError
├── FolderError     the data folder cannot be used, or another server uses it
├── MissingError    a program or package that is needed is not installed
├── AddressError    the address asked for cannot be served
├── ServerError     PostgreSQL, Redis or a process of ours does not start or does not answer
└── ArchiveError    a backup cannot be written, read or trusted
"""


class LaunchError(Exception):
    """Ends the command with its message on one line and status 1."""


class FolderError(LaunchError):
    """The data folder cannot be used."""


class MissingError(LaunchError):
    """Something that has to be installed is not."""


class AddressError(LaunchError):
    """The host or port cannot be served."""


class ServerError(LaunchError):
    """A server does not start, does not answer, or is of the wrong version."""


class ArchiveError(LaunchError):
    """A backup cannot be written, read or trusted."""
