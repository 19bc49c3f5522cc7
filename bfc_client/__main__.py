"""`python -m bfc_client` is `bfc`."""

from bfc_client.command import main

main()
