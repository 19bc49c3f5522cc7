from collections.abc import Iterator

import pytest

from tests.client.paper_lab import PaperLab, Served, served


@pytest.fixture
def lab() -> PaperLab:
    return PaperLab()


@pytest.fixture
def at(lab: PaperLab) -> Iterator[Served]:
    with served(lab) as address:
        yield address
