from contextlib import closing

import pytest
from web_site import Site


@pytest.fixture
def site():
    with closing(Site()) as site:
        yield site


@pytest.fixture(scope="module")
def lasting_site():
    """For the many examples of one test."""
    with closing(Site()) as site:
        yield site
