"""From memory to the sidecar: window, pump, mailbox, and the backend that finds or launches a sidecar."""
