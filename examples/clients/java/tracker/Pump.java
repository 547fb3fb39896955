package tracker;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import org.zeromq.ZMQ;

/**
 * The background thread of a {@link Run}: owns the sockets, sends, receives acks, reattaches when necessary, and
 * resends. Uses state shared with callers under the run's lock only.
 */
final class Pump {
    private static final int TICK_MS = 5;
    private static final long SILENCE_MS = 2000;
    private static final long LONGEST_SILENCE_MS = 16000;
    private static final int MAX_REPEATED_REQUESTS = 3; // requests for the same record before it is replaced

    private final Run run;
    private final Run.Options options;
    private final Wire wire;
    private final Queue queue;
    private final ReentrantLock lock;
    private ZMQ.Context context;
    private ZMQ.Socket records;
    private ZMQ.Socket results;
    private long heard; // time of the last result, in milliseconds of now()
    private long beat; // time of the last send
    private long waitingSince = -1; // since when something sent is not acked or answered; -1: nothing
    private long patience = SILENCE_MS;
    private long expected;
    private int timesExpected;
    private int refusals;
    private long refusedSince;
    private boolean outageReported;

    Pump(Run run) {
        this.run = run;
        options = run.options;
        wire = run.wire;
        queue = run.queue;
        lock = run.lock;
    }

    void run() {
        context = ZMQ.context(1);
        try {
            while (run.ending == Run.Ending.NONE) {
                if (records == null) {
                    attach();
                } else {
                    sendRecords();
                    sendRequests();
                    sendBeat();
                    takeResults();
                    noticeSilence();
                }
            }
            if (run.ending == Run.Ending.DETACH && records != null) {
                records.setLinger(1000); // the detach message is not queued: give it time to be sent
                sendUnnumbered("detach", Map.of());
            }
        } catch (Run.TrackerException error) {
            fail(error);
        } catch (RuntimeException error) {
            fail(new Run.TrackerException("the tracker's thread failed: " + error));
        } finally {
            disconnect();
            context.term();
        }
    }

    private void fail(Run.TrackerException error) {
        lock.lock();
        try {
            run.failure = error;
            run.changed.signalAll();
        } finally {
            lock.unlock();
        }
    }

    private long now() {
        return TimeUnit.NANOSECONDS.toMillis(System.nanoTime());
    }

    private ZMQ.Socket connect(int type, String endpoint, int patienceMs) {
        ZMQ.Socket socket = context.socket(type);
        socket.setLinger(0);
        socket.setSndHWM(64);
        socket.setReceiveTimeOut(patienceMs);
        socket.connect(endpoint);
        return socket;
    }

    private void disconnect() {
        if (records != null) {
            records.close();
            results.close();
        }
        records = null;
        results = null;
    }

    private void attach() {
        Map<String, Object> body = new LinkedHashMap<>();
        body.put("protocol", Wire.PROTOCOL);
        body.put("pid", ProcessHandle.current().pid());
        body.put("place", Run.place());
        body.put("label", options.label);
        body.put("resume", options.resume);
        body.put("again", run.attached);
        ZMQ.Socket door = connect(ZMQ.DEALER, options.door, 20);
        try {
            door.send(wire.bare("attach", 0, Wire.encodeBody(body)), ZMQ.DONTWAIT);
            long end = now() + SILENCE_MS;
            while (run.ending == Run.Ending.NONE && now() < end) {
                byte[] message = door.recv(0);
                Wire.Result result = message == null ? null : Wire.decode(message);
                if (result != null && result.kind().equals("attached")) {
                    welcomed(result);
                    return;
                }
                if (result != null && result.kind().equals("refused")) {
                    refused(result);
                    return;
                }
            }
        } finally {
            door.close();
        }
        if (run.attached && !outageReported && run.ending == Run.Ending.NONE) {
            outageReported = true;
            System.err.println("tracker: the sidecar at " + options.door
                    + " does not answer; records are kept in memory");
        }
    }

    private void welcomed(Wire.Result answer) {
        if (answer.number("protocol") != Wire.PROTOCOL) {
            throw new Run.TrackerException("the sidecar speaks protocol version " + answer.number("protocol")
                    + ", this client version " + Wire.PROTOCOL);
        }
        records = connect(ZMQ.PUSH, Run.reachable(answer.text("records"), options.door), 0);
        results = connect(ZMQ.PULL, Run.reachable(answer.text("results"), options.door), TICK_MS);
        long last = answer.number("last");
        lock.lock();
        try {
            if (last < queue.durable) {
                throw new Run.TrackerException("the sidecar has lost records " + (last + 1) + " to " + queue.durable
                        + " of run " + options.run + ", which it had acked");
            }
            if (queue.acked(last)) {
                patience = SILENCE_MS;
            }
            queue.sendAgain();
            run.requests.values().forEach(request -> request.sent = false);
            run.attached = true;
            run.changed.signalAll();
        } finally {
            lock.unlock();
        }
        heard = now();
        beat = heard;
        waitingSince = -1;
        refusals = 0;
        if (outageReported) {
            System.err.println("tracker: reattached to " + options.door);
        }
        outageReported = false;
    }

    private void refused(Wire.Result answer) {
        String code = answer.text("code");
        String text = "the sidecar at " + options.door + " refused run " + options.run + " (" + code + "): "
                + answer.text("message");
        lock.lock();
        run.lastRefusal = text;
        lock.unlock();
        if (refusals == 0) {
            refusedSince = now();
        }
        // Temporary refusals: the run is being closed, or another sidecar is about to release it.
        boolean passes = switch (code) {
            case "closing" -> true;
            case "elsewhere" -> run.attached || now() - refusedSince < SILENCE_MS;
            case "storage" -> run.attached;
            default -> false;
        };
        if (!passes) {
            throw new Run.RefusedException(code, text);
        }
        long end = now() + (code.equals("closing") ? 20 : 100L << Math.min(refusals, 4));
        while (run.ending == Run.Ending.NONE && now() < end) {
            try {
                Thread.sleep(20);
            } catch (InterruptedException error) {
                throw new Run.TrackerException("the tracker's thread was interrupted");
            }
        }
        refusals++;
    }

    private boolean sendUnnumbered(String kind, Map<String, ?> body) {
        boolean taken = records.send(wire.bare(kind, 0, Wire.encodeBody(body)), ZMQ.DONTWAIT);
        beat = taken ? now() : beat;
        return taken;
    }

    private void sendRecords() {
        while (true) {
            List<byte[]> batch;
            lock.lock();
            try {
                batch = queue.batch();
            } finally {
                lock.unlock();
            }
            if (batch.isEmpty() || !records.send(join(batch), ZMQ.DONTWAIT)) {
                return;
            }
            beat = now();
            waits();
            lock.lock();
            try {
                queue.sent(batch.size());
            } finally {
                lock.unlock();
            }
        }
    }

    private byte[] join(List<byte[]> frames) {
        byte[] message = new byte[frames.stream().mapToInt(frame -> frame.length).sum()];
        int end = 0;
        for (byte[] frame : frames) {
            System.arraycopy(frame, 0, message, end, frame.length);
            end += frame.length;
        }
        return message;
    }

    private void sendRequests() {
        lock.lock();
        try {
            run.requests.forEach((number, request) -> {
                boolean due = !request.sent && request.answer == null
                        && request.wanted <= queue.durable + queue.sent.size();
                if (due && sendUnnumbered("request", Map.of("id", number, "ask", request.ask))) {
                    request.sent = true;
                    waits();
                }
            });
        } finally {
            lock.unlock();
        }
    }

    private void sendBeat() {
        if (now() - beat >= 1000) {
            beat = now();
            sendUnnumbered("beat", Map.of());
        }
    }

    private void waits() {
        waitingSince = waitingSince < 0 ? now() : waitingSince;
    }

    private void takeResults() {
        byte[] message = results.recv(0); // waits up to one tick
        while (message != null) {
            Wire.Result result = Wire.decode(message);
            if (result != null && !result.client().equals(wire.client)) {
                disconnect(); // another client's result: we were considered dead, and our port was reassigned
            } else if (result != null) {
                heard = now();
                lock.lock();
                try {
                    take(result);
                } finally {
                    lock.unlock();
                }
            }
            message = results == null ? null : results.recv(ZMQ.DONTWAIT);
        }
    }

    private void take(Wire.Result result) {
        long seq = result.number("seq");
        switch (result.kind()) {
            case "ack" -> patience = queue.acked(seq) ? SILENCE_MS : patience;
            case "answer" -> {
                queue.acked(seq);
                patience = SILENCE_MS;
                Run.Request request = run.requests.get(result.number("id"));
                if (request != null && seq < request.wanted) {
                    request.sent = false; // records were missing: ask again after they are resent
                } else if (request != null) {
                    request.answer = result;
                    run.changed.signalAll();
                }
            }
            case "problem" -> {
                if (run.problems++ < 5) {
                    System.err.println("tracker: record " + seq + ": " + result.text("message"));
                }
            }
            case "reattach" -> missing(result.number("expected"));
            default -> { }
        }
        boolean asked = run.requests.values().stream().anyMatch(each -> each.sent && each.answer == null);
        if (queue.sent.isEmpty() && !asked) {
            waitingSince = -1;
        }
    }

    private void missing(long number) {
        if (number <= queue.durable) {
            return; // sent before we reattached
        }
        timesExpected = number == expected ? timesExpected + 1 : 1;
        expected = number;
        if (timesExpected >= MAX_REPEATED_REQUESTS) {
            timesExpected = 0;
            queue.giveUp(number);
        }
        disconnect();
    }

    private void noticeSilence() {
        if (records != null && waitingSince >= 0 && now() - Math.max(heard, waitingSince) >= patience) {
            patience = Math.min(patience * 2, LONGEST_SILENCE_MS);
            disconnect();
        }
    }
}
