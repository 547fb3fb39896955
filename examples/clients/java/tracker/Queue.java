package tracker;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Records from the moment they have a number until they are acked. Not locked: its owner does that. Knows nothing of
 * sockets or threads.
 */
final class Queue {
    private static final int IN_FLIGHT_BYTES = 4 << 20; // sent and not acked
    private static final int BATCH_BYTES = 256 << 10; // of one message
    private static final int ENTRY_BYTES = 64; // what a queued record costs beside its bytes
    private static final int RESERVED_BYTES = 64 << 10; // for the last words of a run, when the memory is full

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
    private Map<String, Long> said = Map.of();

    Queue(Wire wire, String client, long boundBytes) {
        this.wire = wire;
        this.client = client;
        this.boundBytes = boundBytes;
    }

    /** Number, encode and keep a record, or count it as lost. */
    void add(String kind, byte[] body, boolean lastWords) {
        if (bytes < boundBytes / 2 && !lastWords) {
            sayLosses();
        }
        byte[] frame = wire.framed(kind, last + 1, body);
        int size = frame.length - Wire.HEAD_BYTES;
        if (size > Wire.MAX_RECORD_BYTES) {
            throw new IllegalArgumentException("a '" + kind + "' record of " + size + " bytes; at most "
                    + Wire.MAX_RECORD_BYTES + " are allowed");
        }
        if (bytes + frame.length + ENTRY_BYTES > boundBytes + (lastWords ? RESERVED_BYTES : 0)) {
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

    /** A `losses` record, if there is something that none has said yet. */
    void sayLosses() {
        if (!counts.equals(said)) {
            push(lossesFrame(last + 1));
        }
    }

    private byte[] lossesFrame(long seq) {
        said = new HashMap<>(counts);
        return wire.framed("losses", seq, Wire.encodeBody(Map.of("counts", said, "source", client)));
    }

    /** Everything up to `seq` is durable. Whether that is news. */
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

    /** Put a `losses` record in the place of one that the sidecar cannot read. */
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
