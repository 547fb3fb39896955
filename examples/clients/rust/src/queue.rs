//! The queue of unacked records. Does not know about sockets or threads: its owner locks it.

use std::collections::{BTreeMap, VecDeque};

use crate::rows::{Schema, Schemas};
use crate::wire::{self, Map, Value, Writer};
use crate::{map, Error};

const IN_FLIGHT_BYTES: usize = 4 << 20; // sent and not acked
const BATCH_BYTES: usize = 256 << 10; // maximum size of a message
const ENTRY_BYTES: usize = 64; // overhead of a queued record
const RESERVED_BYTES: usize = 64 << 10; // for the final records of a run when the memory is full

/// Records with a sequence number that are not acked yet.
pub struct Queue {
    writer: Writer,
    bound_bytes: usize,
    pub frames: VecDeque<Vec<u8>>, // the records and rows durable + 1 to last
    bytes: usize,
    pub sent: usize, // number of them that are sent, from the front
    pub in_flight_bytes: usize,
    pub durable: u64,
    pub last: u64,
    pub counts: BTreeMap<String, u64>,
    reported: BTreeMap<String, u64>,
    pub takes_rows: bool,
    schemas: Schemas,
}

impl Queue {
    pub fn new(writer: Writer, bound_bytes: usize) -> Queue {
        Queue {
            writer,
            bound_bytes,
            frames: VecDeque::new(),
            bytes: 0,
            sent: 0,
            in_flight_bytes: 0,
            durable: 0,
            last: 0,
            counts: BTreeMap::new(),
            reported: BTreeMap::new(),
            takes_rows: false,
            schemas: Schemas::default(),
        }
    }

    /// Number, encode and queue a record, or count it as lost.
    pub fn add(&mut self, kind: &str, body: &[u8], is_final: bool) -> Result<(), Error> {
        if !is_final {
            self.report_losses_if_there_is_room();
        }
        let frame = self.writer.framed(kind, self.last + 1, body);
        let size = wire::record_bytes(&frame);
        if size > wire::MAX_RECORD_BYTES {
            let text = format!("a '{kind}' record has {size} bytes; at most {} are allowed", wire::MAX_RECORD_BYTES);
            return Err(Error::Invalid(text));
        }
        self.push_if_it_fits(frame, self.bound_bytes + if is_final { RESERVED_BYTES } else { 0 });
        Ok(())
    }

    /// `add` for metrics as a row. Returns false if they must be a `log` record.
    pub fn add_row(&mut self, step: i64, data: &Map) -> bool {
        if !self.takes_rows {
            return false;
        }
        self.report_losses_if_there_is_room();
        let seq = self.last + 1;
        match self.schemas.find(data).map(|schema| schema.encode(seq, step, data)) {
            Some(frame) => self.push_if_it_fits(frame, self.bound_bytes),
            None => return false,
        }
        true
    }

    /// Say whether metrics may be rows from now on. If not, the rows in the queue become `log` records.
    pub fn take_rows(&mut self, takes_rows: bool) {
        self.takes_rows = takes_rows;
        if takes_rows {
            return;
        }
        for frame in &mut self.frames {
            if let Some(log) = self.schemas.as_log(&self.writer, frame) {
                self.bytes = self.bytes - frame.len() + log.len();
                *frame = log;
            }
        }
    }

    /// The schemas of the rows so far, from the given one on; none if rows are not taken.
    pub fn schemas_from(&self, start: usize) -> Vec<Schema> {
        if self.takes_rows {
            self.schemas.from(start)
        } else {
            Vec::new()
        }
    }

    fn report_losses_if_there_is_room(&mut self) {
        if self.bytes < self.bound_bytes / 2 {
            self.report_losses();
        }
    }

    fn push_if_it_fits(&mut self, frame: Vec<u8>, bound: usize) {
        if self.bytes + frame.len() + ENTRY_BYTES > bound {
            self.lose("memory full", 1);
        } else {
            self.push(frame);
        }
    }

    fn push(&mut self, frame: Vec<u8>) {
        self.bytes += frame.len() + ENTRY_BYTES;
        self.frames.push_back(frame);
        self.last += 1;
    }

    pub fn lose(&mut self, reason: &str, count: u64) {
        *self.counts.entry(reason.to_owned()).or_default() += count;
    }

    /// Queue a `losses` record if there are losses that were not reported yet.
    pub fn report_losses(&mut self) {
        if self.counts != self.reported {
            let frame = self.losses_frame(self.last + 1);
            self.push(frame);
        }
    }

    fn losses_frame(&mut self, seq: u64) -> Vec<u8> {
        self.reported = self.counts.clone();
        let counts: Map = self.counts.iter().map(|(reason, count)| (reason.clone(), Value::UInt(*count))).collect();
        let body = map! {"counts" => counts, "source" => self.writer.client.as_str()};
        self.writer.framed("losses", seq, &wire::encode_body(&body).expect("three levels"))
    }

    /// Drop the records up to `seq`, which are durable. Returns whether there were any.
    pub fn acked(&mut self, seq: u64) -> bool {
        let before = self.durable;
        while self.durable < seq {
            let frame = match self.frames.pop_front() {
                Some(frame) => frame,
                None => break,
            };
            self.bytes -= frame.len() + ENTRY_BYTES;
            if self.sent > 0 {
                self.sent -= 1;
                self.in_flight_bytes -= frame.len();
            }
            self.durable += 1;
        }
        self.durable > before
    }

    /// The next message, as many records as fit, in order, and their number.
    pub fn batch(&self) -> (Vec<u8>, usize) {
        let mut message = Vec::new();
        let mut count = 0;
        for frame in self.frames.iter().skip(self.sent) {
            let more = message.len() + frame.len();
            if count > 0 && more > BATCH_BYTES
                || self.in_flight_bytes > 0 && self.in_flight_bytes + more > IN_FLIGHT_BYTES
            {
                break;
            }
            message.extend_from_slice(frame);
            count += 1;
        }
        (message, count)
    }

    pub fn send_again(&mut self) {
        self.sent = 0;
        self.in_flight_bytes = 0;
    }

    /// Replace a record that the sidecar cannot read by a `losses` record.
    pub fn give_up(&mut self, seq: u64) {
        if seq > self.durable && seq <= self.last {
            self.lose("unreadable", 1);
            let index = (seq - self.durable - 1) as usize;
            let frame = self.losses_frame(seq);
            self.bytes = self.bytes - self.frames[index].len() + frame.len();
            self.frames[index] = frame;
        }
    }
}
