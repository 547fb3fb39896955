"""ClientLedger: the numbers of one client of a run, and whether it has ended. Plain data; knows no files or sockets.

The HandlerThread changes all of it except `durable`, which the WriterThread moves once the run is open.
"""

from __future__ import annotations


class ClientLedger:
    """Which records of one client were taken, which are durable, and whether more are to come.

    It outlives an attachment: a client that attaches to the run again continues with the same ledger.

    Args:
        client: the client's id.
        last: the number of its last record in the log.
        open: whether the log has no end of it.

    Attributes:
        accepted: the highest number taken from the client.
        durable: the highest number in the log.
        open: whether it may send more: it is attached, or it was when an earlier sidecar died, and has not sent an
            ``exit``.
        expected: whether an earlier sidecar served it, and it may attach to this one.
        detached: whether it detached or died here. What still arrives of it was on its way.
    """

    __slots__ = ("accepted", "client", "detached", "durable", "expected", "open")

    def __init__(self, client: str, last: int = 0, *, open: bool = False) -> None:
        self.client = client
        self.accepted = self.durable = last
        self.open = open
        self.expected = self.detached = False

    @property
    def next_seq(self) -> int:
        """The number that the client's next record must have; with a higher one there is a gap."""
        return self.accepted + 1

    def accept(self, seq: int) -> int:
        """Count the records up to `seq` as taken; return how many of them are new."""
        new = seq - self.accepted
        self.accepted = seq
        return new

    def confirm(self, seq: int) -> None:
        """Note that the records up to `seq` are in the log."""
        self.durable = seq

    def note(self, kind: str) -> None:
        """Note the kind of a record in the log: after an ``exit``, only another record opens the client again."""
        if kind != "edit":  # which changes nothing of how a client or a run ends
            self.open = kind != "exit"

    def expect(self) -> None:
        """Wait for a client that an earlier sidecar served: on another machine its process may be alive."""
        self.open = self.expected = True

    def attach(self, *, again: bool = False) -> None:
        """Note that the client attached.

        Args:
            again: whether it was attached before; then an end that the log has remains its end.
        """
        self.open = self.open or not again or self.accepted == 0
        self.expected = self.detached = False

    def detach(self, *, independent: bool = True) -> bool:
        """Note that the client detached or died; return whether a crash record must say that it did not end.

        Args:
            independent: False for a relay, whose loss does not mean that its clients ended, and for a forked child,
                which does not affect how the run ends.
        """
        crashed = self.open and independent and self.accepted > 0
        self.open = self.expected = False
        self.detached = True
        return crashed

    def is_late(self, seq: int) -> bool:
        """Whether a record was on its way when the client detached, and was taken from its window since."""
        return self.detached and seq <= self.accepted
