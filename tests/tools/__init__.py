"""Programs that measure and judge: benchmarks, and the conformance kit for clients in other languages."""
