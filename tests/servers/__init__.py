"""Tests with real servers on loopback: MLflow, PostgreSQL, ClickHouse; `.ci/run` installs them."""
