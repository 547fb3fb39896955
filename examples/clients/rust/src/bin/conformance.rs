//! The program that the conformance kit runs: logs the agreed values, and checks the state that the sidecar returns.
//!
//!     conformance --door ENDPOINT --run ID --steps N --interval MS [--label L] [--notes no] [--project P]

use std::collections::HashMap;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use tracker::{map, Options, Run};

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match conform() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance: {error}");
            ExitCode::FAILURE
        }
    }
}

fn conform() -> Result<(), Failure> {
    let mut arguments = HashMap::new();
    let mut words = std::env::args().skip(1);
    while let Some(name) = words.next() {
        arguments.insert(name.clone(), words.next().ok_or(format!("{name} has no value"))?);
    }
    let need = |name: &str| arguments.get(name).cloned().ok_or(format!("{name} is missing"));
    let steps: i64 = need("--steps")?.parse()?;
    let interval = Duration::from_millis(need("--interval")?.parse()?);
    let notes = arguments.get("--notes").map_or(true, |value| value != "no");
    let run = Run::init(Options {
        door: need("--door")?,
        run: need("--run")?,
        label: need("--label").unwrap_or_default(),
        project: need("--project").unwrap_or_else(|_| "conformance".into()),
        program: "conformance".into(),
        ..Options::default()
    })?;

    run.config(map! {
        "lr" => 0.1,
        "steps" => steps,
        "optimizer" => map! {"name" => "adam", "betas" => vec![0.9, 0.999]},
        "unicode" => "größe ✓",
        "nothing" => None::<bool>,
        "flag" => true,
    })?;
    run.define("acc", map! {"summary" => vec!["max"], "goal" => "maximize"})?;
    let wild = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    for i in 0..steps {
        let mut data = map! {
            "loss" => 1.0 / (i + 1) as f64,
            "acc" => i as f64 * 0.25,
            "count" => i * 1_000_003,
            "odd" => i % 2 == 1,
            "wild" => wild[(i % 3) as usize],
        };
        if notes && i % 10 == 0 {
            data.insert("note".into(), format!("step {i}").into());
        }
        run.log_at(i, data)?;
        thread::sleep(interval);
    }
    let best = 1.0 / steps as f64;
    run.summary(map! {"best" => best})?;
    run.flush()?;
    let state = run.finish(0)?;

    let summary = state.get("summary");
    if summary.get("best").number() != Some(best) {
        return Err(format!("the sidecar's summary of 'best' is {:?}, not {best}", summary.get("best")).into());
    }
    let highest = (steps - 1) as f64 * 0.25;
    if steps > 0 && summary.get("acc").number() != Some(highest) {
        return Err(format!("the sidecar's summary of 'acc' is {:?}, not {highest}", summary.get("acc")).into());
    }
    Ok(())
}
