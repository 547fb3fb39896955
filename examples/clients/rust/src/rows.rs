//! Rows: metrics that are packed without their names, which a schema says once. Does not know about sockets or threads.

use std::collections::hash_map::RandomState;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use crate::map;
use crate::wire::{self, Map, Value, Writer, HEAD_BYTES};

const ROW: u8 = 1; // the first byte of a row
const MAX_SCHEMAS: usize = 256;
const MAX_SCHEMA_KEYS: usize = 50_000;
const MAX_KEYS: usize = 10_000; // of one schema

/// The keys and types of rows.
#[derive(Clone, Debug)]
pub struct Schema {
    id: u64,
    keys: Vec<String>,
    types: Vec<u8>, // for each key `d` (a float), `q` (an integer) or `?` (a boolean)
}

impl Schema {
    fn new(data: &Map, types: Vec<u8>) -> Schema {
        let id = RandomState::new().build_hasher().finish() >> 8; // seeded by the operating system
        Schema { id, keys: data.keys().cloned().collect(), types }
    }

    /// The body of the record that declares it.
    pub fn body(&self) -> Map {
        let types: String = self.types.iter().map(|letter| char::from(*letter)).collect();
        map! {"id" => self.id, "keys" => self.keys.clone(), "types" => types}
    }

    fn matches(&self, data: &Map, types: &[u8]) -> bool {
        self.types == types && self.keys.iter().eq(data.keys())
    }

    /// Metrics as a framed row.
    pub fn encode(&self, seq: u64, step: i64, data: &Map) -> Vec<u8> {
        let mut frame = Vec::with_capacity(HEAD_BYTES + 8 * (4 + data.len()));
        frame.resize(HEAD_BYTES, 0);
        let mut put = |word: [u8; 8]| frame.extend(word);
        put((self.id << 8 | u64::from(ROW)).to_le_bytes());
        put(seq.to_le_bytes());
        put(wire::unix_time().to_le_bytes());
        put(step.to_le_bytes());
        data.values().for_each(|value| put(word_of(value)));
        wire::finish_frame(&mut frame);
        frame
    }

    /// The `log` record that a framed row stands for, framed.
    fn as_log(&self, writer: &Writer, frame: &[u8]) -> Vec<u8> {
        let word = |place| word_at(frame, place);
        let values = self.types.iter().enumerate().map(|(i, letter)| value_of(*letter, word(4 + i)));
        let data: Map = self.keys.iter().cloned().zip(values).collect();
        let body = map! {"step" => i64::from_le_bytes(word(3)), "data" => data};
        let body = wire::encode_body(&body).expect("two levels");
        writer.framed_at("log", u64::from_le_bytes(word(1)), f64::from_le_bytes(word(2)), &body)
    }
}

/// The schemas of one client.
#[derive(Default)]
pub struct Schemas {
    all: Vec<Schema>,
    by_hash: HashMap<u64, Vec<usize>>, // of keys and types
    hashes: RandomState,
    keys: usize,
}

impl Schemas {
    /// The schema for metrics, a new one if necessary; none if they cannot be a row or there are too many schemas.
    pub fn find(&mut self, data: &Map) -> Option<&Schema> {
        let types = data.values().map(type_of).collect::<Option<Vec<u8>>>()?;
        let mut hasher = self.hashes.build_hasher();
        hasher.write(&types);
        data.keys().for_each(|key| hasher.write(key.as_bytes()));
        let alike = self.by_hash.entry(hasher.finish()).or_default();
        if let Some(index) = alike.iter().find(|index| self.all[**index].matches(data, &types)) {
            return self.all.get(*index);
        }
        let keys = self.keys + data.len();
        if data.is_empty() || data.len() > MAX_KEYS || keys > MAX_SCHEMA_KEYS || self.all.len() >= MAX_SCHEMAS {
            return None;
        }
        self.keys = keys;
        alike.push(self.all.len());
        self.all.push(Schema::new(data, types));
        self.all.last()
    }

    /// The schemas from the given one on, in the order of their creation.
    pub fn from(&self, start: usize) -> Vec<Schema> {
        self.all[start..].to_vec()
    }

    /// The `log` record that a frame stands for, framed; none if it holds a record already.
    pub fn as_log(&self, writer: &Writer, frame: &[u8]) -> Option<Vec<u8>> {
        if frame[HEAD_BYTES] != ROW {
            return None;
        }
        let id = u64::from_le_bytes(word_at(frame, 0)) >> 8;
        self.all.iter().find(|schema| schema.id == id).map(|schema| schema.as_log(writer, frame))
    }
}

/// The type of a metric in a row; none if it cannot be in one.
fn type_of(value: &Value) -> Option<u8> {
    match value {
        Value::Float(_) => Some(b'd'),
        Value::Int(_) => Some(b'q'),
        Value::UInt(number) if i64::try_from(*number).is_ok() => Some(b'q'),
        Value::Bool(_) => Some(b'?'),
        _ => None,
    }
}

/// The 8 bytes of a metric, little-endian as all numbers in a row.
fn word_of(value: &Value) -> [u8; 8] {
    match *value {
        Value::Float(number) => number.to_le_bytes(),
        Value::Int(number) => number.to_le_bytes(),
        Value::UInt(number) => number.to_le_bytes(),
        Value::Bool(flag) => u64::from(flag).to_le_bytes(),
        _ => unreachable!("it has no type in a row"),
    }
}

fn value_of(letter: u8, word: [u8; 8]) -> Value {
    match letter {
        b'd' => Value::Float(f64::from_le_bytes(word)),
        b'q' => Value::Int(i64::from_le_bytes(word)),
        _ => Value::Bool(word[0] == 1),
    }
}

/// The bytes of a number in a framed row: 0 is the schema, then come number, time, step and the metrics.
fn word_at(frame: &[u8], place: usize) -> [u8; 8] {
    let start = HEAD_BYTES + 8 * place;
    frame[start..start + 8].try_into().expect("8 bytes")
}
