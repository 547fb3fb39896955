package tracker;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;

/**
 * One attachment of this process to one run: a client of the sidecar's protocol, version 1 (sidecar/PROTOCOL.md).
 *
 * <p>{@link #log} and similar methods number, encode and queue a record, and return: they never wait for the network.
 * One background thread owns the sockets. It sends records, receives acks, reattaches when necessary, and resends
 * unacked records. Records that do not fit into the memory limit are dropped, counted and reported by {@link #finish}.
 *
 * <pre>{@code
 * try (Run run = Run.init(new Run.Options().door("tcp://127.0.0.1:5757"))) {
 *     run.log(Map.of("loss", 0.5));
 *     run.finish(0);
 * }
 * }</pre>
 *
 * <p>May be used from any thread. Closed without {@link #finish} a run counts as failed, since an exception
 * prevented the call.
 */
public final class Run implements AutoCloseable {
    /** An error of the tracker; the message is one line. */
    public static class TrackerException extends RuntimeException {
        private static final long serialVersionUID = 1;

        TrackerException(String message) {
            super(message);
        }
    }

    /** The sidecar refused the client. */
    public static final class RefusedException extends TrackerException {
        private static final long serialVersionUID = 1;

        /** One of "Refusals" in PROTOCOL.md. */
        public final String code;

        RefusedException(String code, String message) {
            super(message);
            this.code = code;
        }
    }

    /** Where to attach, and how. Options that are not set are omitted. */
    public static final class Options {
        String door = System.getenv().getOrDefault("TRACKER_SIDECAR", "");
        String run = randomId(8);
        private final Map<String, Object> facts = new LinkedHashMap<>();
        String label;
        String resume;
        private long memoryBytes = 64 << 20;
        private Duration attachTimeout = Duration.ofSeconds(30);
        private Duration timeout = Duration.ofSeconds(120);

        /** Endpoint of the control socket, {@code tcp://…}; by default the value of {@code TRACKER_SIDECAR}. */
        public Options door(String endpoint) {
            door = endpoint;
            return this;
        }

        /** The run's id; by default a random one. */
        public Options run(String id) {
            run = id;
            return this;
        }

        public Options project(String text) {
            return fact("project", text);
        }

        public Options name(String text) {
            return fact("name", text);
        }

        public Options group(String text) {
            return fact("group", text);
        }

        public Options program(String text) {
            return fact("program", text);
        }

        /** Name of this writer among several of one run. */
        public Options label(String text) {
            label = text;
            return fact("label", text);
        }

        /** {@code allow}, {@code must} or {@code never}; by default the run is new or still open. */
        public Options resume(String how) {
            resume = how;
            return this;
        }

        /** Maximum size of unacked records in memory; 64 MiB by default. */
        public Options memoryBytes(long bound) {
            memoryBytes = bound;
            return this;
        }

        /** Maximum wait of {@link Run#init} for a sidecar; 30 seconds by default. */
        public Options attachTimeout(Duration time) {
            attachTimeout = time;
            return this;
        }

        /** Maximum wait of flush, state and finish for an answer; 120 seconds by default. */
        public Options timeout(Duration time) {
            timeout = time;
            return this;
        }

        private Options fact(String key, String text) {
            if (text != null) {
                facts.put(key, text);
            }
            return this;
        }
    }

    static final class Request {
        final String ask;
        final long wanted; // the sequence number that must be durable before the answer
        boolean sent;
        Wire.Result answer;

        Request(String ask, long wanted) {
            this.ask = ask;
            this.wanted = wanted;
        }
    }

    enum Ending { NONE, DETACH, NOW }

    final Options options;
    final Wire wire;
    private final Thread thread;

    // Shared by the callers and the thread, guarded by the lock.
    final ReentrantLock lock = new ReentrantLock();
    final Condition changed = lock.newCondition();
    final Queue queue;
    final Map<Long, Request> requests = new TreeMap<>();
    private long lastRequest;
    private long nextStep;
    long problems;
    boolean attached; // at least once
    TrackerException failure;
    String lastRefusal;
    private boolean finished;
    volatile Ending ending = Ending.NONE;

    private Run(Options options) {
        this.options = options;
        String client = randomId(12);
        wire = new Wire(options.run, client);
        queue = new Queue(wire, client, options.memoryBytes);
        thread = new Thread(new Pump(this)::run, "tracker");
        thread.setDaemon(true);
    }

    // -- public methods -------------------------------------------------------------------------------------------

    /**
     * Attach.
     *
     * @throws RefusedException if the sidecar refuses the client
     * @throws TrackerException if no sidecar answers in time
     */
    public static Run init(Options options) {
        if (!options.door.startsWith("tcp://")) {
            throw new TrackerException("'" + options.door + "' is not an endpoint that this client supports;"
                    + " it must be one such as tcp://127.0.0.1:5757");
        }
        Run run = new Run(options);
        run.thread.start();
        try {
            run.waitUntilAttached();
        } catch (TrackerException error) {
            run.finished = true;
            run.end(Ending.NOW);
            throw error;
        }
        Map<String, Object> body = new LinkedHashMap<>(options.facts);
        body.put("start_time", Wire.unixTime());
        body.put("pid", ProcessHandle.current().pid());
        body.put("python", "Java " + System.getProperty("java.version"));
        String host = hostName();
        if (!host.isEmpty()) {
            body.put("host", host);
        }
        run.add("run", body, false);
        return run;
    }

    public String id() {
        return options.run;
    }

    /**
     * Log metrics at the largest step so far plus one: numbers, booleans, strings; nested maps become keys with
     * dots.
     *
     * @throws IllegalArgumentException if a value cannot be a metric, and for no other reason
     */
    public void log(Map<String, ?> data) {
        lock.lock();
        try {
            log(nextStep, data);
        } finally {
            lock.unlock();
        }
    }

    /** Log metrics at a step. */
    public void log(long step, Map<String, ?> data) {
        Map<String, Object> flat = new LinkedHashMap<>();
        flatten(data, "", flat);
        lock.lock();
        try {
            nextStep = Math.max(nextStep, step == Long.MAX_VALUE ? step : step + 1);
        } finally {
            lock.unlock();
        }
        add("log", Map.of("step", step, "data", flat), false);
    }

    /** Set keys of the configuration. */
    public void config(Map<String, ?> set) {
        add("config", Map.of("set", set), false);
    }

    /** Set keys of the summary. */
    public void summary(Map<String, ?> set) {
        add("summary", Map.of("set", set), false);
    }

    /** Define how a metric is summarized: {@code Map.of("summary", List.of("max"), "goal", "maximize")}. */
    public void define(String metric, Map<String, ?> how) {
        Map<String, Object> body = new LinkedHashMap<>(how);
        body.put("metric", metric);
        add("define", body, false);
    }

    /** Wait until all records logged so far are durable. */
    public void flush() {
        ask("flush", options.timeout);
    }

    /** The run's state, once all records logged so far are readable in the store. */
    public Map<String, Object> state() {
        return stateOf(ask("state", options.timeout));
    }

    /**
     * Record the end state, wait until all records are readable in the store, detach, and return the final state.
     *
     * @throws TrackerException if some records are not durable after the timeout; those are lost
     */
    public Map<String, Object> finish(int exitCode) {
        String state = exitCode == 0 ? "finished" : "failed";
        return leave(Map.of("state", state, "exit_code", exitCode), options.timeout);
    }

    /** Number of lost records by reason. */
    public Map<String, Long> losses() {
        lock.lock();
        try {
            return Map.copyOf(queue.counts);
        } finally {
            lock.unlock();
        }
    }

    @Override
    public void close() {
        if (finished) {
            return;
        }
        try {
            leave(Map.of("state", "failed"), Duration.ofSeconds(10));
        } catch (TrackerException error) {
            System.err.println("tracker: " + error.getMessage());
        }
    }

    private Map<String, Object> leave(Map<String, ?> exit, Duration timeout) {
        lock.lock();
        try {
            if (finished) {
                throw new IllegalStateException("run " + options.run + " is already finished");
            }
            finished = true;
            queue.reportLosses();
        } finally {
            lock.unlock();
        }
        add("exit", exit, true);
        TrackerException error = null;
        Wire.Result answer = null;
        try {
            answer = ask("state", timeout);
        } catch (TrackerException caught) {
            error = caught;
        }
        end(error == null ? Ending.DETACH : Ending.NOW);
        lock.lock();
        try {
            if (error != null && queue.waiting() > 0) {
                queue.lose("not delivered", queue.waiting());
            }
            queue.counts.forEach((reason, count) -> System.err.println(
                    "tracker: " + count + " records of run " + options.run + " were lost: " + reason));
            if (problems > 0) {
                System.err.println("tracker: the sidecar rejected " + problems + " records of run " + options.run);
            }
        } finally {
            lock.unlock();
        }
        if (error != null) {
            throw error;
        }
        return stateOf(answer);
    }

    private void end(Ending how) {
        ending = how;
        try {
            thread.join();
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    @SuppressWarnings("unchecked") // Wire creates maps with string keys only
    private static Map<String, Object> stateOf(Wire.Result answer) {
        return answer.body().get("state") instanceof Map<?, ?> state ? (Map<String, Object>) state : Map.of();
    }

    private void add(String kind, Map<String, ?> body, boolean isFinal) {
        byte[] encoded = Wire.encodeBody(body);
        lock.lock();
        try {
            if (failure != null) {
                queue.lose("refused", 1);
            } else {
                queue.add(kind, encoded, isFinal);
            }
        } finally {
            lock.unlock();
        }
    }

    /** Send a request, and wait for the answer, which comes once all queued records are durable. */
    private Wire.Result ask(String what, Duration timeout) {
        lock.lock();
        try {
            long number = ++lastRequest;
            Request request = new Request(what, queue.last);
            requests.put(number, request);
            await(timeout, () -> request.answer != null || failure != null);
            requests.remove(number);
            if (request.answer != null) {
                if (!request.answer.text("error").isEmpty()) {
                    throw new TrackerException(request.answer.text("error"));
                }
                return request.answer;
            }
            if (failure != null) {
                throw failure;
            }
            throw new TrackerException("the sidecar at " + options.door + " has not answered in time; "
                    + queue.waiting() + " records of run " + options.run + " are not known to be durable");
        } finally {
            lock.unlock();
        }
    }

    private void waitUntilAttached() {
        lock.lock();
        try {
            await(options.attachTimeout, () -> attached || failure != null);
            if (failure != null) {
                throw failure;
            }
            if (!attached) {
                throw new TrackerException("cannot attach at " + options.door + " within "
                        + options.attachTimeout.toSeconds() + " s"
                        + (lastRefusal == null ? ": is it running?" : ": " + lastRefusal));
            }
        } finally {
            lock.unlock();
        }
    }

    /** Wait, with the lock held, until `done` returns true or the timeout expires. */
    private void await(Duration timeout, BooleanSupplier done) {
        long remaining = timeout.toNanos();
        try {
            while (!done.getAsBoolean() && remaining > 0) {
                remaining = changed.awaitNanos(remaining);
            }
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new TrackerException("interrupted while waiting for the sidecar at " + options.door);
        }
    }

    private static void flatten(Map<String, ?> data, String prefix, Map<String, Object> out) {
        data.forEach((name, value) -> {
            String key = prefix + name;
            if (name.isEmpty()) {
                throw new IllegalArgumentException("a metric key must not be empty");
            } else if (value instanceof Map<?, ?> inner && !inner.containsKey("_type")) {
                Map<String, Object> named = new LinkedHashMap<>();
                inner.forEach((innerName, item) -> named.put(String.valueOf(innerName), item));
                flatten(named, key + ".", out);
            } else if (value instanceof Number || value instanceof Boolean || value instanceof String
                    || value instanceof Map<?, ?>) {
                out.put(key, value);
            } else {
                String what = value == null ? "null"
                        : value instanceof Collection<?> ? "a list" : "a " + value.getClass().getName();
                throw new IllegalArgumentException("metric '" + key + "' is " + what
                        + "; log a number, a boolean or a string");
            }
        });
    }

    // -- identification --------------------------------------------------------------------------------------------

    private static String randomId(int length) {
        String letters = "abcdefghijklmnopqrstuvwxyz0123456789";
        StringBuilder id = new StringBuilder();
        new SecureRandom().ints(length, 0, letters.length()).forEach(index -> id.append(letters.charAt(index)));
        return id.toString();
    }

    private static String hostName() {
        try {
            return Files.readString(Path.of("/proc/sys/kernel/hostname")).strip();
        } catch (IOException error) {
            return System.getenv().getOrDefault("HOSTNAME", "");
        }
    }

    /** The machine on which this process's id is valid. */
    static String place() {
        try {
            String boot = Files.readString(Path.of("/proc/sys/kernel/random/boot_id")).strip();
            return boot + "/" + Files.readSymbolicLink(Path.of("/proc/self/ns/pid"));
        } catch (IOException error) {
            return hostName();
        }
    }

    /** Replaces the host `*` of an endpoint by the host of the control socket. */
    static String reachable(String endpoint, String door) {
        String any = "tcp://*:";
        return endpoint.startsWith(any)
                ? door.substring(0, door.lastIndexOf(':') + 1) + endpoint.substring(any.length())
                : endpoint;
    }
}
