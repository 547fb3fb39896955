"""Fixtures: an MLflow server on SQLite, and one on PostgreSQL with a password. Each is started once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.mlflow_server import PASSWORD, MlflowServer, mlflow_server, postgres


@pytest.fixture(scope="session")
def mlflow_sqlite(temporary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """An MLflow server on SQLite."""
    with mlflow_server(f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db") as server:
        yield server


@pytest.fixture(scope="session")
def mlflow_postgres(temporary: Path) -> Iterator[MlflowServer]:
    """An MLflow server on PostgreSQL that requires a password."""
    with postgres() as store, mlflow_server(store, password=PASSWORD) as server:
        yield server
