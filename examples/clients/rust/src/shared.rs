//! The state shared by callers and the background thread, under one lock: queue, requests and status.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

use crate::queue::Queue;
use crate::wire::{self, Map, Value, Writer};
use crate::{map, Error, Options};

#[derive(Clone, Copy, PartialEq)]
pub enum Ending {
    Detach,
    Now,
}

pub struct Request {
    pub ask: &'static str,
    pub wanted: u64, // the sequence number that must be durable before the answer
    pub sent: bool,
    pub answer: Option<Value>,
}

pub struct State {
    pub queue: Queue,
    pub requests: BTreeMap<u64, Request>,
    pub last_request: u64,
    pub next_step: i64,
    pub problems: u64,
    pub attached: bool, // at least once
    pub failure: Option<Error>,
    pub last_refusal: Option<String>,
    pub ending: Option<Ending>,
}

impl State {
    pub fn new(queue: Queue) -> State {
        State {
            queue,
            requests: BTreeMap::new(),
            last_request: 0,
            next_step: 0,
            problems: 0,
            attached: false,
            failure: None,
            last_refusal: None,
            ending: None,
        }
    }

    pub fn asked(&self) -> bool {
        self.requests.values().any(|request| request.sent && request.answer.is_none())
    }
}

pub struct Shared {
    pub options: Options,
    pub writer: Writer,
    pub state: Mutex<State>,
    pub changed: Condvar,
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Wait until `done` returns true, the thread fails, or the deadline passes.
    fn wait(&self, deadline: Instant, done: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let remaining = deadline.saturating_duration_since(Instant::now());
        let waited =
            self.changed.wait_timeout_while(self.lock(), remaining, |state| state.failure.is_none() && !done(state));
        waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0
    }

    pub fn wait_until_attached(&self) -> Result<(), Error> {
        let timeout = self.options.attach_timeout;
        let state = self.wait(Instant::now() + timeout, |state| state.attached);
        match &state.failure {
            Some(failure) => Err(failure.clone()),
            None if state.attached => Ok(()),
            None => {
                let encrypted = !self.options.server_key.is_empty();
                let silent = if encrypted { ": is it running, and is this its key?" } else { ": is it running?" };
                let why = state.last_refusal.as_ref().map_or(silent.into(), |text| format!(": {text}"));
                let door = &self.options.door;
                Err(Error::Unavailable(format!("cannot attach at {door} within {} s{why}", timeout.as_secs())))
            }
        }
    }

    pub fn add(&self, kind: &str, body: &Map, is_final: bool) -> Result<(), Error> {
        let body = wire::encode_body(body).map_err(Error::Invalid)?;
        let mut state = self.lock();
        if state.failure.is_some() {
            state.queue.lose("refused", 1);
            return Ok(());
        }
        state.queue.add(kind, &body, is_final)
    }

    pub fn log(&self, step: Option<i64>, data: Map) -> Result<(), Error> {
        let mut flat = Map::new();
        flatten(data, "", &mut flat)?;
        let step = {
            let mut state = self.lock();
            let step = step.unwrap_or(state.next_step);
            state.next_step = state.next_step.max(step.saturating_add(1));
            if state.failure.is_none() && state.queue.add_row(step, &flat) {
                return Ok(());
            }
            step
        };
        self.add("log", &map! {"step" => step, "data" => flat}, false)
    }

    /// Send a request, and wait for the answer, which comes once all queued records are durable.
    pub fn ask(&self, what: &'static str, deadline: Instant) -> Result<Value, Error> {
        let number = {
            let mut state = self.lock();
            state.last_request += 1;
            let (number, wanted) = (state.last_request, state.queue.last);
            state.requests.insert(number, Request { ask: what, wanted, sent: false, answer: None });
            number
        };
        let mut state = self.wait(deadline, |state| state.requests[&number].answer.is_some());
        let request = state.requests.remove(&number);
        if let Some(answer) = request.and_then(|request| request.answer) {
            return match answer.get("error").text() {
                "" => Ok(answer),
                error => Err(Error::Unavailable(error.to_owned())),
            };
        }
        Err(state.failure.clone().unwrap_or_else(|| {
            Error::Unavailable(format!(
                "the sidecar at {} has not answered in time; {} records of run {} are not known to be durable",
                self.options.door,
                state.queue.frames.len(),
                self.options.run
            ))
        }))
    }
}

fn flatten(data: Map, prefix: &str, out: &mut Map) -> Result<(), Error> {
    for (name, value) in data {
        let key = format!("{prefix}{name}");
        match value {
            _ if name.is_empty() => return Err(Error::Invalid("a metric key must not be empty".into())),
            Value::Map(inner) if !inner.contains_key("_type") => flatten(inner, &format!("{key}."), out)?,
            Value::Nil | Value::List(_) => {
                let what = if value == Value::Nil { "nil" } else { "a list" };
                return Err(Error::Invalid(format!("metric '{key}' is {what}; log a number, a boolean or a string")));
            }
            _ => {
                out.insert(key, value);
            }
        }
    }
    Ok(())
}
