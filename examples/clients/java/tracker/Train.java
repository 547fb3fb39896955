package tracker;

import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.IntStream;

/**
 * Logistic regression by gradient descent on two clouds of generated points; all logged numbers are computed
 * here.
 *
 * <pre>train --door ENDPOINT --run ID [--steps N]</pre>
 */
public final class Train {
    private static final long SEED = 7;
    private static final int POINTS = 400;
    private static final double LEARNING_RATE = 0.5;

    private record Point(double x, double y, boolean upper) { }

    private double wx;
    private double wy;
    private double bias;
    private double loss;
    private double accuracy;

    private Train() { }

    public static void main(String[] words) {
        int status = 0;
        try {
            train(Conformance.arguments(words));
        } catch (RuntimeException error) {
            System.err.println("train: " + error.getMessage());
            status = 1;
        }
        System.exit(status);
    }

    private static List<Point> makePoints() {
        Random random = new Random(SEED);
        return IntStream.range(0, POINTS).mapToObj(index -> {
            boolean upper = index % 2 == 1;
            double centre = upper ? 1.0 : -1.0;
            return new Point(centre + random.nextGaussian(), centre + random.nextGaussian(), upper);
        }).toList();
    }

    /** One gradient step; `loss` (mean cross-entropy) and `accuracy` are those before it. */
    private void step(List<Point> points) {
        double sum = 0.0;
        double dx = 0.0;
        double dy = 0.0;
        double db = 0.0;
        int right = 0;
        for (Point point : points) {
            double p = 1.0 / (1.0 + Math.exp(-(wx * point.x + wy * point.y + bias)));
            double error = p - (point.upper ? 1.0 : 0.0);
            sum -= Math.log(point.upper ? p : 1.0 - p);
            right += (p > 0.5) == point.upper ? 1 : 0;
            dx += error * point.x;
            dy += error * point.y;
            db += error;
        }
        wx -= LEARNING_RATE * dx / points.size();
        wy -= LEARNING_RATE * dy / points.size();
        bias -= LEARNING_RATE * db / points.size();
        loss = sum / points.size();
        accuracy = (double) right / points.size();
    }

    private static void train(Map<String, String> arguments) {
        int steps = Integer.parseInt(arguments.getOrDefault("steps", "200"));
        Run.Options options = new Run.Options().door(Conformance.need(arguments, "door"))
                .run(Conformance.need(arguments, "run")).project("clouds").name("Java").program("Train.java");
        try (Run run = Run.init(options)) {
            run.config(Map.of("learning_rate", LEARNING_RATE, "steps", steps, "points", POINTS, "seed", SEED));
            run.define("accuracy", Map.of("summary", List.of("max"), "goal", "maximize"));
            List<Point> points = makePoints();
            Train model = new Train();
            for (int step = 0; step < steps; step++) {
                model.step(points);
                run.log(step, Map.of("loss", model.loss, "accuracy", model.accuracy));
            }
            Map<String, Object> state = run.finish(0);
            if (state.get("summary") instanceof Map<?, ?> summary) {
                System.out.println("run " + run.id() + ": loss " + summary.get("loss") + ", accuracy "
                        + summary.get("accuracy") + " after " + steps + " steps");
            }
        }
    }
}
