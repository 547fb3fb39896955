"""The upstream sink: another sidecar."""
