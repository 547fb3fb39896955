//! A client of the sidecar's protocol, version 1 (sidecar/PROTOCOL.md).
//!
//! [`Run::log`] and similar functions number, encode and queue a record, and return: they never wait for the network.
//! One background thread owns the sockets. It sends records, receives acks, reattaches when necessary, and resends
//! unacked records. Records that do not fit into the memory limit are dropped, counted and reported by [`Run::finish`].
//!
//! ```no_run
//! use tracker::{map, Options, Run};
//! let run = Run::init(Options { door: "tcp://127.0.0.1:5757".into(), ..Options::default() })?;
//! run.log(map! {"loss" => 0.5})?;
//! run.finish(0)?;
//! # Ok::<(), tracker::Error>(())
//! ```

mod pump;
mod queue;
mod rows;
mod shared;
mod wire;

use std::collections::hash_map::RandomState;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pump::Pump;
use queue::Queue;
use shared::{Ending, Shared, State};
use wire::Writer;
pub use wire::{Map, Value};

/// An error of the tracker.
#[derive(Clone, Debug)]
pub enum Error {
    /// The sidecar refused: `code` is one of "Refusals" in PROTOCOL.md.
    Refused { code: String, message: String },
    /// The given value cannot be logged.
    Invalid(String),
    /// No sidecar, no answer in time, or an error in an answer.
    Unavailable(String),
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Refused { message, .. } | Error::Invalid(message) | Error::Unavailable(message) => {
                out.write_str(message)
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<zmq::Error> for Error {
    fn from(error: zmq::Error) -> Error {
        Error::Unavailable(format!("ZeroMQ: {error}"))
    }
}

/// Where to attach, and how. Empty fields are omitted.
#[derive(Clone, Debug)]
pub struct Options {
    /// Endpoint of the control socket; empty: the value of `TRACKER_SIDECAR`.
    pub door: String,
    /// The run's id; empty: a random one.
    pub run: String,
    pub project: String,
    pub name: String,
    pub group: String,
    /// Name of this writer among several of one run.
    pub label: String,
    pub program: String,
    /// `allow`, `must` or `never`; empty: the run is new or still open.
    pub resume: String,
    /// The public key of an encrypting sidecar, in Z85; empty: no encryption.
    pub server_key: String,
    /// This client's own public and secret key, if the sidecar lists its clients; none: a new pair.
    pub keys: Option<(String, String)>,
    /// Maximum size of unacked records in memory.
    pub memory_bytes: usize,
    /// Maximum wait of [`Run::init`] for a sidecar.
    pub attach_timeout: Duration,
    /// Maximum wait of [`Run::flush`], [`Run::state`] and [`Run::finish`] for an answer.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            door: String::new(),
            run: String::new(),
            project: String::new(),
            name: String::new(),
            group: String::new(),
            label: String::new(),
            program: String::new(),
            resume: String::new(),
            server_key: String::new(),
            keys: None,
            memory_bytes: 64 << 20,
            attach_timeout: Duration::from_secs(30),
            timeout: Duration::from_secs(120),
        }
    }
}

/// One attachment of this process to one run; may be used from any thread. It does not survive `fork`.
///
/// Dropped without [`Run::finish`], the run is `failed` if the thread panics, else `finished`.
pub struct Run {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Run {
    /// Attach. Fails if the sidecar refuses the client, or if no sidecar answers in time.
    pub fn init(mut options: Options) -> Result<Run, Error> {
        if options.door.is_empty() {
            options.door = std::env::var("TRACKER_SIDECAR").unwrap_or_default();
        }
        if !options.door.contains("://") {
            let text = format!("'{}' is not an endpoint; it must be one such as tcp://127.0.0.1:5757", options.door);
            return Err(Error::Invalid(text));
        }
        if options.run.is_empty() {
            options.run = random_id(8);
        }
        make_keys(&mut options)?;
        let mut body = map! {
            "start_time" => wire::unix_time(),
            "pid" => std::process::id(),
            "python" => concat!("Rust ", env!("TRACKER_RUST")),
        };
        let texts = [
            ("host", &host_name()),
            ("project", &options.project),
            ("name", &options.name),
            ("group", &options.group),
            ("label", &options.label),
            ("program", &options.program),
        ];
        for (key, text) in texts {
            put_text(&mut body, key, text);
        }
        let writer = Writer { run: options.run.clone(), client: random_id(12) };
        let queue = Queue::new(writer.clone(), options.memory_bytes);
        let shared =
            Arc::new(Shared { options, writer, state: Mutex::new(State::new(queue)), changed: Condvar::new() });
        let pump = Pump::new(Arc::clone(&shared));
        let thread = thread::Builder::new()
            .name("tracker".into())
            .spawn(move || pump.run())
            .map_err(|error| Error::Unavailable(format!("cannot start a thread: {error}")))?;
        let mut run = Run { shared, thread: Some(thread) };
        if let Err(error) = run.shared.wait_until_attached() {
            run.end(Ending::Now);
            return Err(error);
        }
        run.shared.add("run", &body, false)?;
        Ok(run)
    }

    pub fn id(&self) -> &str {
        &self.shared.options.run
    }

    /// Log metrics at the largest step so far plus one: numbers, booleans, strings; nested maps become keys with
    /// dots. An error if a value cannot be a metric, and for no other reason.
    pub fn log(&self, data: Map) -> Result<(), Error> {
        self.shared.log(None, data)
    }

    /// Log metrics at a step.
    pub fn log_at(&self, step: i64, data: Map) -> Result<(), Error> {
        self.shared.log(Some(step), data)
    }

    /// Set keys of the configuration.
    pub fn config(&self, set: Map) -> Result<(), Error> {
        self.shared.add("config", &map! {"set" => set}, false)
    }

    /// Set keys of the summary.
    pub fn summary(&self, set: Map) -> Result<(), Error> {
        self.shared.add("summary", &map! {"set" => set}, false)
    }

    /// Define how a metric is summarized: `map! {"summary" => vec!["max"], "goal" => "maximize"}`.
    pub fn define(&self, metric: &str, mut how: Map) -> Result<(), Error> {
        how.insert("metric".into(), metric.into());
        self.shared.add("define", &how, false)
    }

    /// Wait until all records logged so far are durable.
    pub fn flush(&self) -> Result<(), Error> {
        self.shared.ask("flush", Instant::now() + self.shared.options.timeout).map(|_| ())
    }

    /// The run's state, once all records logged so far are readable in the store.
    pub fn state(&self) -> Result<Value, Error> {
        let answer = self.shared.ask("state", Instant::now() + self.shared.options.timeout)?;
        Ok(answer.get("state").clone())
    }

    /// Record the end state, wait until all records are readable in the store, detach, and return the final state. An
    /// error if some records are not durable after the timeout; those are lost.
    pub fn finish(mut self, exit_code: i32) -> Result<Value, Error> {
        let state = if exit_code == 0 { "finished" } else { "failed" };
        self.leave(map! {"state" => state, "exit_code" => exit_code}, self.shared.options.timeout)
    }

    /// Number of lost records by reason.
    pub fn losses(&self) -> BTreeMap<String, u64> {
        self.shared.lock().queue.counts.clone()
    }

    fn leave(&mut self, exit: Map, timeout: Duration) -> Result<Value, Error> {
        let deadline = Instant::now() + timeout;
        self.shared.lock().queue.report_losses();
        let answer = self.shared.add("exit", &exit, true).and_then(|()| self.shared.ask("state", deadline));
        self.end(if answer.is_ok() { Ending::Detach } else { Ending::Now });
        let mut state = self.shared.lock();
        if answer.is_err() && !state.queue.frames.is_empty() {
            let count = state.queue.frames.len() as u64;
            state.queue.lose("not delivered", count);
        }
        for (reason, count) in &state.queue.counts {
            eprintln!("tracker: {count} records of run {} were lost: {reason}", self.id());
        }
        if state.problems > 0 {
            eprintln!("tracker: the sidecar rejected {} records of run {}", state.problems, self.id());
        }
        answer.map(|answer| answer.get("state").clone())
    }

    fn end(&mut self, ending: Ending) {
        self.shared.lock().ending = Some(ending);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic has printed its message already
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.thread.is_none() {
            return;
        }
        let state = if thread::panicking() { "failed" } else { "finished" };
        if let Err(error) = self.leave(map! {"state" => state}, Duration::from_secs(10)) {
            eprintln!("tracker: {error}");
        }
    }
}

// -- identification ---------------------------------------------------------------------------------------------------

/// Lower-case letters and digits. A `RandomState` is seeded by the operating system.
fn random_id(length: usize) -> String {
    let letters = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut number = RandomState::new().build_hasher().finish();
    let mut id = String::new();
    for _ in 0..length {
        id.push(char::from(letters[(number % 36) as usize]));
        number /= 36;
    }
    id
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    name.unwrap_or_default().trim().to_owned()
}

fn put_text(map: &mut Map, key: &str, text: &str) {
    if !text.is_empty() {
        map.insert(key.into(), text.into());
    }
}

/// Check the keys; all sockets of this client share one pair.
fn make_keys(options: &mut Options) -> Result<(), Error> {
    if options.server_key.is_empty() {
        options.keys = None;
        return Ok(());
    }
    let (public, secret) = match options.keys.take() {
        Some(pair) => pair,
        None => {
            let pair = zmq::CurveKeyPair::new()?;
            let z85 = |key: &[u8]| zmq::z85_encode(key).map_err(|error| Error::Unavailable(error.to_string()));
            (z85(&pair.public_key)?, z85(&pair.secret_key)?)
        }
    };
    for key in [&options.server_key, &public, &secret] {
        if key.len() != 40 {
            return Err(Error::Invalid(format!("a key must have 40 characters, not {}", key.len())));
        }
    }
    options.keys = Some((public, secret));
    Ok(())
}
