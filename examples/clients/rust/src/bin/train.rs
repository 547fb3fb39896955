//! Logistic regression by gradient descent on two clouds of generated points; all logged numbers are computed
//! here.
//!
//!     train --door ENDPOINT --run ID [--steps N] [--server-key KEY]

use std::collections::HashMap;
use std::process::ExitCode;

use tracker::{map, Options, Run};

const SEED: u64 = 7;
const POINTS: usize = 400;
const LEARNING_RATE: f64 = 0.5;

struct Point {
    x: f64,
    y: f64,
    upper: bool,
}

/// A xorshift generator (Marsaglia, <https://doi.org/10.18637/jss.v008.i14>): good enough to generate points.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Approximately normal: the sum of twelve uniform numbers has variance 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

fn make_points() -> Vec<Point> {
    let mut random = Random(SEED.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let point = |index: usize| {
        let upper = index % 2 == 1;
        let centre = if upper { 1.0 } else { -1.0 };
        Point { x: centre + random.normal(), y: centre + random.normal(), upper }
    };
    (0..POINTS).map(point).collect()
}

#[derive(Default)]
struct Model {
    wx: f64,
    wy: f64,
    bias: f64,
}

impl Model {
    /// One gradient step; returns the mean cross-entropy and the accuracy before it.
    fn train(&mut self, points: &[Point]) -> (f64, f64) {
        let (mut loss, mut right, mut dx, mut dy, mut db) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for point in points {
            let p = 1.0 / (1.0 + (-(self.wx * point.x + self.wy * point.y + self.bias)).exp());
            let error = p - f64::from(u8::from(point.upper));
            loss -= if point.upper { p } else { 1.0 - p }.ln();
            right += f64::from(u8::from((p > 0.5) == point.upper));
            dx += error * point.x;
            dy += error * point.y;
            db += error;
        }
        let count = points.len() as f64;
        self.wx -= LEARNING_RATE * dx / count;
        self.wy -= LEARNING_RATE * dy / count;
        self.bias -= LEARNING_RATE * db / count;
        (loss / count, right / count)
    }
}

fn main() -> ExitCode {
    match train() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("train: {error}");
            ExitCode::FAILURE
        }
    }
}

fn train() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = HashMap::new();
    let mut words = std::env::args().skip(1);
    while let Some(name) = words.next() {
        arguments.insert(name.clone(), words.next().ok_or(format!("{name} has no value"))?);
    }
    let need = |name: &str| arguments.get(name).cloned().ok_or(format!("{name} is missing"));
    let steps: i64 = need("--steps").unwrap_or_else(|_| "200".into()).parse()?;
    let run = Run::init(Options {
        door: need("--door")?,
        run: need("--run")?,
        project: "clouds".into(),
        name: "Rust".into(),
        program: "train.rs".into(),
        server_key: need("--server-key").unwrap_or_default(),
        ..Options::default()
    })?;
    run.config(map! {"learning_rate" => LEARNING_RATE, "steps" => steps, "points" => POINTS, "seed" => SEED})?;
    run.define("accuracy", map! {"summary" => vec!["max"], "goal" => "maximize"})?;

    let points = make_points();
    let mut model = Model::default();
    for step in 0..steps {
        let (loss, accuracy) = model.train(&points);
        run.log_at(step, map! {"loss" => loss, "accuracy" => accuracy})?;
    }
    let id = run.id().to_owned();
    let state = run.finish(0)?;
    let number = |key| state.get("summary").get(key).number().unwrap_or(f64::NAN);
    println!("run {id}: loss {:.6}, accuracy {} after {steps} steps", number("loss"), number("accuracy"));
    Ok(())
}
