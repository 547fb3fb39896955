//! A client of the sidecar's protocol, version 1 (sidecar/PROTOCOL.md).
//!
//! [`Run::log`] and its like number, encode and queue a record, and return: they never wait for the network. One
//! background thread owns the sockets. It sends, takes acks, attaches again when it must, and sends again what is not
//! acked. What does not fit into the memory it may use is counted, and said at the end.
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

/// What went wrong.
#[derive(Clone, Debug)]
pub enum Error {
    /// The sidecar refused: `code` is one of "Refusals" in PROTOCOL.md.
    Refused { code: String, message: String },
    /// What was given cannot be logged.
    Invalid(String),
    /// No sidecar, no answer in time, or an answer that says so.
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

/// Where to attach and who attaches. What is empty is left out.
#[derive(Clone, Debug)]
pub struct Options {
    /// The door's endpoint; empty: what `TRACKER_SIDECAR` says.
    pub door: String,
    /// The run's id; empty: a random one.
    pub run: String,
    pub project: String,
    pub name: String,
    pub group: String,
    /// Names this writer among several of one run.
    pub label: String,
    pub program: String,
    /// `allow`, `must` or `never`; empty: the run is new or still open.
    pub resume: String,
    /// The public key of a sidecar that encrypts, in Z85; empty: nothing is encrypted.
    pub server_key: String,
    /// This client's own public and secret key, where the sidecar lists its clients; none: a new pair.
    pub keys: Option<(String, String)>,
    /// Bound of what is kept until it is acked.
    pub memory_bytes: usize,
    /// How long [`Run::init`] waits for a sidecar.
    pub attach_timeout: Duration,
    /// How long [`Run::flush`], [`Run::state`] and [`Run::finish`] wait for an answer.
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
    /// Attach. An error if the door says no, or if no sidecar answers in time.
    pub fn init(mut options: Options) -> Result<Run, Error> {
        if options.door.is_empty() {
            options.door = std::env::var("TRACKER_SIDECAR").unwrap_or_default();
        }
        if !options.door.contains("://") {
            let text = format!("'{}' is no endpoint of a door, such as tcp://127.0.0.1:5757", options.door);
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

    /// Log metrics at the largest step so far and one more: numbers, booleans, strings; nested maps become keys with
    /// dots. An error for a value that cannot be a metric, and for nothing else.
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

    /// Say how a metric is summed up: `map! {"summary" => vec!["max"], "goal" => "maximize"}`.
    pub fn define(&self, metric: &str, mut how: Map) -> Result<(), Error> {
        how.insert("metric".into(), metric.into());
        self.shared.add("define", &how, false)
    }

    /// Wait until all that was logged so far is durable.
    pub fn flush(&self) -> Result<(), Error> {
        self.shared.ask("flush", Instant::now() + self.shared.options.timeout).map(|_| ())
    }

    /// The run's state, once all that was logged so far is readable in the store.
    pub fn state(&self) -> Result<Value, Error> {
        let answer = self.shared.ask("state", Instant::now() + self.shared.options.timeout)?;
        Ok(answer.get("state").clone())
    }

    /// Say how the run ended, wait until all is readable in the store, detach, and return the run's last state. An
    /// error if something is still not durable at the end of the time; then it is lost.
    pub fn finish(mut self, exit_code: i32) -> Result<Value, Error> {
        let state = if exit_code == 0 { "finished" } else { "failed" };
        self.leave(map! {"state" => state, "exit_code" => exit_code}, self.shared.options.timeout)
    }

    /// How many records were lost, by reason.
    pub fn losses(&self) -> BTreeMap<String, u64> {
        self.shared.lock().queue.counts.clone()
    }

    fn leave(&mut self, exit: Map, timeout: Duration) -> Result<Value, Error> {
        let deadline = Instant::now() + timeout;
        self.shared.lock().queue.say_losses();
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
            eprintln!("tracker: the sidecar could not use {} records of run {}", state.problems, self.id());
        }
        answer.map(|answer| answer.get("state").clone())
    }

    fn end(&mut self, ending: Ending) {
        self.shared.lock().ending = Some(ending);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // if it panicked it has said so
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

// -- who and where ----------------------------------------------------------------------------------------------------

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
    let found = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    found.unwrap_or_default().trim().to_owned()
}

fn put_text(map: &mut Map, key: &str, text: &str) {
    if !text.is_empty() {
        map.insert(key.into(), text.into());
    }
}

/// Check the keys; one pair is for all sockets of this client.
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
            return Err(Error::Invalid(format!("a key of {} characters; 40 of Z85", key.len())));
        }
    }
    options.keys = Some((public, secret));
    Ok(())
}
