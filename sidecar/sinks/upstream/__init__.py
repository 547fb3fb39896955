"""The upstream sink: sends runs to another sidecar.

``sink`` follows the contract of sinks, ``relay`` turns a log into the records to send, ``link`` owns the sockets.
"""
