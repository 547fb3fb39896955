"""Tests with real servers on loopback: MLflow, PostgreSQL, ClickHouse. ``tests/install-packages.sh`` installs them."""
