"""The laws of the payment service on a database hold on PostgreSQL as they do on SQLite."""

from __future__ import annotations

import pytest

from tests.unit.services.test_payment_service import *  # noqa: F403 - the same laws on the other database

pytestmark = pytest.mark.quick


@pytest.fixture
def database_url(postgres_url):
    return postgres_url
