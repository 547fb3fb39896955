package tracker;

import java.time.Duration;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The program that the conformance kit runs: logs the agreed values, and checks the state that the sidecar returns.
 *
 * <pre>conformance --door ENDPOINT --run ID --steps N --interval MS [--label L] [--project P]</pre>
 */
public final class Conformance {
    private Conformance() { }

    public static void main(String[] words) {
        int status = 0;
        try {
            conform(arguments(words));
        } catch (InterruptedException | RuntimeException error) {
            System.err.println("conformance: " + error.getMessage());
            status = 1;
        }
        System.exit(status);
    }

    static Map<String, String> arguments(String[] words) {
        Map<String, String> arguments = new HashMap<>();
        for (int i = 0; i < words.length; i += 2) {
            if (!words[i].startsWith("--") || i + 1 == words.length) {
                throw new IllegalArgumentException("'" + words[i] + "': arguments come as --name value");
            }
            arguments.put(words[i].substring(2), words[i + 1]);
        }
        return arguments;
    }

    static String need(Map<String, String> arguments, String name) {
        String value = arguments.get(name);
        if (value == null) {
            throw new IllegalArgumentException("--" + name + " is missing");
        }
        return value;
    }

    private static void conform(Map<String, String> arguments) throws InterruptedException {
        long steps = Long.parseLong(need(arguments, "steps"));
        Duration interval = Duration.ofMillis(Long.parseLong(need(arguments, "interval")));
        Run.Options options = new Run.Options().door(need(arguments, "door")).run(need(arguments, "run"))
                .label(arguments.get("label")).project(arguments.getOrDefault("project", "conformance"))
                .program("conformance");
        try (Run run = Run.init(options)) {
            Map<String, Object> config = new LinkedHashMap<>();
            config.put("lr", 0.1);
            config.put("steps", steps);
            config.put("optimizer", Map.of("name", "adam", "betas", List.of(0.9, 0.999)));
            config.put("unicode", "größe ✓");
            config.put("nothing", null);
            config.put("flag", true);
            run.config(config);
            run.define("acc", Map.of("summary", List.of("max"), "goal", "maximize"));
            double[] wild = {Double.NaN, Double.POSITIVE_INFINITY, Double.NEGATIVE_INFINITY};
            for (long i = 0; i < steps; i++) {
                Map<String, Object> data = new LinkedHashMap<>();
                data.put("loss", 1.0 / (i + 1));
                data.put("acc", i * 0.25);
                data.put("count", i * 1000003);
                data.put("odd", i % 2 == 1);
                data.put("wild", wild[(int) (i % 3)]);
                if (i % 10 == 0) {
                    data.put("note", "step " + i);
                }
                run.log(i, data);
                Thread.sleep(interval.toMillis());
            }
            double best = 1.0 / steps;
            run.summary(Map.of("best", best));
            run.flush();
            Map<String, Object> state = run.finish(0);

            Map<?, ?> summary = state.get("summary") instanceof Map<?, ?> map ? map : Map.of();
            check("best", best, summary.get("best"));
            if (steps > 0) {
                check("acc", (steps - 1) * 0.25, summary.get("acc"));
            }
        }
    }

    private static void check(String key, double logged, Object stored) {
        if (!(stored instanceof Number number) || number.doubleValue() != logged) {
            throw new Run.TrackerException("the sidecar's summary of '" + key + "' is " + stored + ", not " + logged);
        }
    }
}
