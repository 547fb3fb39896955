//! The background thread: owns the sockets, sends, receives acks, reattaches when necessary, and resends.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::rows::Schema;
use crate::shared::{Ending, Shared, State};
use crate::wire::{self, Map, Value, PROTOCOL};
use crate::{host_name, map, put_text, Error};

const TICK_MS: i64 = 5;
const SILENCE: Duration = Duration::from_secs(2);
const LONGEST_SILENCE: Duration = Duration::from_secs(16);
const MAX_REPEATED_REQUESTS: u32 = 3; // requests of the sidecar for the same record before it is replaced

struct Channel {
    records: zmq::Socket,
    results: zmq::Socket,
}

/// Owns every socket of one client; lives on the background thread.
pub struct Pump {
    shared: Arc<Shared>,
    context: zmq::Context,
    channel: Option<Channel>,
    heard: Instant,                 // time of the last result
    beat: Instant,                  // time of the last send
    waiting_since: Option<Instant>, // since when something sent is not acked or answered yet
    patience: Duration,
    declared: usize, // number of schemas that this connection knows
    schema_refused: bool,
    expected: u64,
    times_expected: u32,
    refusals: u32,
    refused_since: Instant,
    outage_reported: bool,
}

impl Pump {
    pub fn new(shared: Arc<Shared>) -> Pump {
        let now = Instant::now();
        Pump {
            shared,
            context: zmq::Context::new(),
            channel: None,
            heard: now,
            beat: now,
            waiting_since: None,
            patience: SILENCE,
            declared: 0,
            schema_refused: false,
            expected: 0,
            times_expected: 0,
            refusals: 0,
            refused_since: now,
            outage_reported: false,
        }
    }

    pub fn run(mut self) {
        if let Err(error) = self.serve() {
            self.shared.lock().failure = Some(error);
            self.shared.changed.notify_all();
        }
    }

    fn serve(&mut self) -> Result<(), Error> {
        loop {
            match self.ending() {
                None => {}
                Some(Ending::Now) => return Ok(()),
                Some(Ending::Detach) => return self.detach(),
            }
            match self.channel.take() {
                None => self.attach()?,
                Some(channel) => {
                    if self.turn(&channel)? {
                        self.channel = Some(channel);
                    }
                }
            }
        }
    }

    fn ending(&self) -> Option<Ending> {
        self.shared.lock().ending
    }

    /// Send new records and handle results. Returns whether this channel is still usable.
    fn turn(&mut self, channel: &Channel) -> Result<bool, Error> {
        self.send_records(channel)?;
        self.send_requests(channel)?;
        self.send_beat(channel)?;
        Ok(self.take_results(channel)? && !self.silent())
    }

    fn connect(&self, kind: zmq::SocketType, endpoint: &str) -> Result<zmq::Socket, Error> {
        let socket = self.context.socket(kind)?;
        socket.set_linger(0)?;
        socket.set_sndhwm(64)?;
        if let Some((public, secret)) = &self.shared.options.keys {
            socket.set_curve_serverkey(self.shared.options.server_key.as_bytes())?;
            socket.set_curve_publickey(public.as_bytes())?;
            socket.set_curve_secretkey(secret.as_bytes())?;
        }
        socket.connect(endpoint)?;
        Ok(socket)
    }

    fn attach(&mut self) -> Result<(), Error> {
        let options = &self.shared.options;
        let again = self.shared.lock().attached;
        let mut body = map! {"protocol" => PROTOCOL, "pid" => std::process::id(), "place" => place()};
        put_text(&mut body, "label", &options.label);
        put_text(&mut body, "resume", &options.resume);
        if again {
            body.insert("again".into(), true.into());
        }
        let door = self.connect(zmq::DEALER, &options.door)?;
        let body = wire::encode_body(&body).map_err(Error::Invalid)?;
        try_send(&door, &self.shared.writer.bare("attach", 0, &body))?;
        let end = Instant::now() + SILENCE;
        while self.ending().is_none() && Instant::now() < end {
            let message = match receive(&door, 20)? {
                Some(message) => message,
                None => continue,
            };
            match wire::decode_record(&message) {
                Some((kind, _, body)) if kind == "attached" => return self.welcomed(&body),
                Some((kind, _, body)) if kind == "refused" => return self.refused(&body),
                _ => {}
            }
        }
        if again && !self.outage_reported && self.ending().is_none() {
            self.outage_reported = true;
            let door = &self.shared.options.door;
            eprintln!("tracker: the sidecar at {door} does not answer; records are kept in memory");
        }
        Ok(())
    }

    fn welcomed(&mut self, body: &Value) -> Result<(), Error> {
        let version = body.get("protocol").number().unwrap_or(0.0);
        if version != PROTOCOL as f64 {
            let text = format!("the sidecar speaks protocol version {version}, this client version {PROTOCOL}");
            return Err(Error::Unavailable(text));
        }
        let door = self.shared.options.door.clone();
        self.channel = Some(Channel {
            records: self.connect(zmq::PUSH, &reachable(body.get("records").text(), &door))?,
            results: self.connect(zmq::PULL, &reachable(body.get("results").text(), &door))?,
        });
        let last = body.get("last").count().unwrap_or(0);
        let mut state = self.shared.lock();
        if last < state.queue.durable {
            let text = format!(
                "the sidecar has lost records {} to {} of run {}, which it had acked",
                last + 1,
                state.queue.durable,
                self.shared.options.run
            );
            return Err(Error::Unavailable(text));
        }
        let news = state.queue.acked(last);
        state.queue.send_again();
        state.queue.take_rows(*body.get("rows") == Value::Bool(true) && !self.schema_refused);
        state.requests.values_mut().for_each(|request| request.sent = false);
        state.attached = true;
        self.shared.changed.notify_all();
        drop(state);
        self.declared = 0;
        self.progress(news);
        self.heard = Instant::now();
        self.beat = self.heard;
        self.waiting_since = None;
        self.refusals = 0;
        if std::mem::take(&mut self.outage_reported) {
            eprintln!("tracker: reattached to {door}");
        }
        Ok(())
    }

    fn refused(&mut self, body: &Value) -> Result<(), Error> {
        let options = &self.shared.options;
        let code = body.get("code").text();
        let why = body.get("message").text();
        let message = format!("the sidecar at {} refused run {} ({code}): {why}", options.door, options.run);
        let again = {
            let mut state = self.shared.lock();
            state.last_refusal = Some(message.clone());
            state.attached
        };
        if self.refusals == 0 {
            self.refused_since = Instant::now();
        }
        // Temporary refusals: the run is being closed, or another sidecar is about to release it.
        let passes = match code {
            "closing" => true,
            "elsewhere" => again || self.refused_since.elapsed() < SILENCE,
            "storage" => again,
            _ => false,
        };
        if !passes {
            return Err(Error::Refused { code: code.to_owned(), message });
        }
        let pause = if code == "closing" { 20 } else { 100 << self.refusals.min(4) };
        let end = Instant::now() + Duration::from_millis(pause);
        while self.ending().is_none() && Instant::now() < end {
            thread::sleep(Duration::from_millis(20));
        }
        self.refusals += 1;
        Ok(())
    }

    fn detach(&mut self) -> Result<(), Error> {
        if let Some(channel) = self.channel.take() {
            // The detach message is not queued: give it time to be sent.
            channel.records.set_linger(1000)?;
            self.send_unnumbered(&channel, "detach", &Map::new())?;
        }
        Ok(())
    }

    fn send_unnumbered(&mut self, channel: &Channel, kind: &str, body: &Map) -> Result<bool, Error> {
        let body = wire::encode_body(body).map_err(Error::Invalid)?;
        let taken = try_send(&channel.records, &self.shared.writer.bare(kind, 0, &body))?;
        if taken {
            self.beat = Instant::now();
        }
        Ok(taken)
    }

    fn send_records(&mut self, channel: &Channel) -> Result<(), Error> {
        loop {
            let ((message, count), schemas) = {
                let state = self.shared.lock();
                (state.queue.batch(), state.queue.schemas_from(self.declared))
            };
            if count == 0 || !self.declare(channel, &schemas)? || !try_send(&channel.records, &message)? {
                return Ok(());
            }
            self.beat = Instant::now();
            self.waiting_since.get_or_insert(self.beat);
            let mut state = self.shared.lock();
            state.queue.sent += count;
            state.queue.in_flight_bytes += message.len();
        }
    }

    fn declare(&mut self, channel: &Channel, schemas: &[Schema]) -> Result<bool, Error> {
        for schema in schemas {
            if !self.send_unnumbered(channel, "schema", &schema.body())? {
                return Ok(false);
            }
            self.declared += 1;
        }
        Ok(true)
    }

    fn send_requests(&mut self, channel: &Channel) -> Result<(), Error> {
        let due: Vec<(u64, &'static str)> = {
            let state = self.shared.lock();
            let sent = state.queue.durable + state.queue.sent as u64;
            let new = state
                .requests
                .iter()
                .filter(|(_, request)| !request.sent && request.answer.is_none() && request.wanted <= sent);
            new.map(|(number, request)| (*number, request.ask)).collect()
        };
        for (number, ask) in due {
            if self.send_unnumbered(channel, "request", &map! {"id" => number, "ask" => ask})? {
                self.waiting_since.get_or_insert_with(Instant::now);
                if let Some(request) = self.shared.lock().requests.get_mut(&number) {
                    request.sent = true;
                }
            }
        }
        Ok(())
    }

    fn send_beat(&mut self, channel: &Channel) -> Result<(), Error> {
        if self.beat.elapsed() >= Duration::from_secs(1) {
            self.beat = Instant::now();
            self.send_unnumbered(channel, "beat", &Map::new())?;
        }
        Ok(())
    }

    /// Returns whether the channel is still usable.
    fn take_results(&mut self, channel: &Channel) -> Result<bool, Error> {
        let mut patience_ms = TICK_MS;
        while let Some(message) = receive(&channel.results, patience_ms)? {
            patience_ms = 0;
            if let Some((kind, client, body)) = wire::decode_record(&message) {
                self.heard = Instant::now();
                if client != self.shared.writer.client {
                    return Ok(false); // another client's result: we were considered dead, and our port was reassigned
                }
                if !self.take(&kind, &body) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn take(&mut self, kind: &str, body: &Value) -> bool {
        let seq = body.get("seq").count().unwrap_or(0);
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        match kind {
            "ack" => self.progress(state.queue.acked(seq)),
            "answer" => {
                state.queue.acked(seq);
                self.progress(true);
                let number = body.get("id").count().unwrap_or(0);
                if let Some(request) = state.requests.get_mut(&number) {
                    if seq < request.wanted {
                        request.sent = false; // records were missing: ask again after they are resent
                    } else {
                        request.answer = Some(body.clone());
                        shared.changed.notify_all();
                    }
                }
            }
            "problem" => {
                if state.problems < 5 {
                    eprintln!("tracker: record {seq}: {}", body.get("message").text());
                }
                state.problems += 1;
                if seq == 0 && state.queue.takes_rows {
                    self.schema_refused = true; // reattach, and send the rows as `log` records
                    return false;
                }
            }
            "reattach" => return !self.missing(&mut state, body.get("expected").count().unwrap_or(0)),
            _ => {}
        }
        if state.queue.sent == 0 && !state.asked() {
            self.waiting_since = None;
        }
        true
    }

    /// A record is missing. Returns whether to reattach.
    fn missing(&mut self, state: &mut State, expected: u64) -> bool {
        if expected <= state.queue.durable {
            return false; // sent before we reattached
        }
        self.times_expected = if expected == self.expected { self.times_expected + 1 } else { 1 };
        self.expected = expected;
        if self.times_expected >= MAX_REPEATED_REQUESTS {
            self.times_expected = 0;
            state.queue.give_up(expected);
        }
        true
    }

    fn progress(&mut self, news: bool) {
        if news {
            self.patience = SILENCE;
        }
    }

    fn silent(&mut self) -> bool {
        let silent = self.waiting_since.map_or(false, |since| since.max(self.heard).elapsed() >= self.patience);
        if silent {
            self.patience = (self.patience * 2).min(LONGEST_SILENCE);
        }
        silent
    }
}

/// Send without waiting. Returns whether ZeroMQ accepted the message.
fn try_send(socket: &zmq::Socket, message: &[u8]) -> Result<bool, Error> {
    match socket.send(message, zmq::DONTWAIT) {
        Ok(()) => Ok(true),
        Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The next message, if one arrives in time.
fn receive(socket: &zmq::Socket, patience_ms: i64) -> Result<Option<Vec<u8>>, Error> {
    match socket.poll(zmq::POLLIN, patience_ms).and_then(|_| socket.recv_bytes(zmq::DONTWAIT)) {
        Ok(message) => Ok(Some(message)),
        Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The machine on which this process's id is valid.
fn place() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    match (boot, std::fs::read_link("/proc/self/ns/pid")) {
        (Ok(boot), Ok(link)) => format!("{}/{}", boot.trim_end(), link.display()),
        _ => host_name(),
    }
}

/// Replaces the host `*` of an endpoint by the host of the control socket.
fn reachable(endpoint: &str, door: &str) -> String {
    match (endpoint.strip_prefix("tcp://*:"), door.rfind(':')) {
        (Some(port), Some(end)) if door.starts_with("tcp://") => format!("{}:{port}", &door[..end]),
        _ => endpoint.to_owned(),
    }
}
