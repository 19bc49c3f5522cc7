from collections.abc import Iterator

import pytest

from tests.site import Site, own_site


@pytest.fixture(scope="session")
def site(template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A lab at work, whose webhooks may go to this machine."""
    settings = {"BFC_ALLOW_PRIVATE_WEBHOOKS": "1", "OMP_NUM_THREADS": "1"}
    with own_site(template, tmp_path_factory.mktemp("examples"), **settings) as made:
        made.work()
        yield made
