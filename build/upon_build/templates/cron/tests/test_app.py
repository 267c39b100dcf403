from datetime import UTC, datetime

from upon import Done
from upon.testing import Client


def test_refreshes(upon_client: Client) -> None:
    outcome = upon_client.tick("refresh", at=datetime(2030, 1, 1, 3, 5, tzinfo=UTC))

    assert isinstance(outcome, Done)
