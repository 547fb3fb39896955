package tracker;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Records with a sequence number that are not acked yet. The owner of the queue does the locking. Does not know about
 * sockets or threads.
 */
final class Queue {
    private static final int IN_FLIGHT_BYTES = 4 << 20; // sent and not acked
    private static final int BATCH_BYTES = 256 << 10; // maximum size of a message
    private static final int ENTRY_BYTES = 64; // overhead of a queued record
    private static final int RESERVED_BYTES = 64 << 10; // for the final records of a run when the memory is full

    private final Wire wire;
    private final String client;
    private final long boundBytes;
    final ArrayDeque<byte[]> sent = new ArrayDeque<>(); // the records durable + 1 ...
    private final ArrayDeque<byte[]> unsent = new ArrayDeque<>(); // ... to last
    private long bytes;
    private long inFlightBytes;
    long durable;
    long last;
    final Map<String, Long> counts = new TreeMap<>();
    private Map<String, Long> reported = Map.of();

    Queue(Wire wire, String client, long boundBytes) {
        this.wire = wire;
        this.client = client;
        this.boundBytes = boundBytes;
    }

    /** Number, encode and queue a record, or count it as lost. */
    void add(String kind, byte[] body, boolean isFinal) {
        if (bytes < boundBytes / 2 && !isFinal) {
            reportLosses();
        }
        byte[] frame = wire.framed(kind, last + 1, body);
        int size = frame.length - Wire.HEAD_BYTES;
        if (size > Wire.MAX_RECORD_BYTES) {
            throw new IllegalArgumentException("a '" + kind + "' record has " + size + " bytes; at most "
                    + Wire.MAX_RECORD_BYTES + " are allowed");
        }
        if (bytes + frame.length + ENTRY_BYTES > boundBytes + (isFinal ? RESERVED_BYTES : 0)) {
            lose("memory full", 1);
        } else {
            push(frame);
        }
    }

    private void push(byte[] frame) {
        bytes += frame.length + ENTRY_BYTES;
        unsent.addLast(frame);
        last++;
    }

    void lose(String reason, long count) {
        counts.merge(reason, count, Long::sum);
    }

    /** Queue a `losses` record if there are losses that were not reported yet. */
    void reportLosses() {
        if (!counts.equals(reported)) {
            push(lossesFrame(last + 1));
        }
    }

    private byte[] lossesFrame(long seq) {
        reported = new HashMap<>(counts);
        return wire.framed("losses", seq, Wire.encodeBody(Map.of("counts", reported, "source", client)));
    }

    /** Drop the records up to `seq`, which are durable. Returns whether there were any. */
    boolean acked(long seq) {
        long before = durable;
        while (durable < seq && waiting() > 0) {
            boolean wasSent = !sent.isEmpty();
            byte[] frame = wasSent ? sent.removeFirst() : unsent.removeFirst();
            bytes -= frame.length + ENTRY_BYTES;
            inFlightBytes -= wasSent ? frame.length : 0;
            durable++;
        }
        return durable > before;
    }

    /** The next message: as many records as fit, in order. */
    List<byte[]> batch() {
        List<byte[]> batch = new ArrayList<>();
        long size = 0;
        for (byte[] frame : unsent) {
            size += frame.length;
            if (!batch.isEmpty() && size > BATCH_BYTES || inFlightBytes > 0 && inFlightBytes + size > IN_FLIGHT_BYTES) {
                break;
            }
            batch.add(frame);
        }
        return batch;
    }

    void sent(int count) {
        for (int i = 0; i < count; i++) {
            byte[] frame = unsent.removeFirst();
            inFlightBytes += frame.length;
            sent.addLast(frame);
        }
    }

    void sendAgain() {
        while (!sent.isEmpty()) {
            unsent.addFirst(sent.removeLast());
        }
        inFlightBytes = 0;
    }

    /** Replace a record that the sidecar cannot read by a `losses` record. */
    void giveUp(long seq) {
        sendAgain();
        List<byte[]> frames = new ArrayList<>(unsent);
        long index = seq - durable - 1;
        if (index >= 0 && index < frames.size()) {
            lose("unreadable", 1);
            byte[] frame = lossesFrame(seq);
            bytes += frame.length - frames.set((int) index, frame).length;
            unsent.clear();
            unsent.addAll(frames);
        }
    }

    int waiting() {
        return sent.size() + unsent.size();
    }
}
