//! Encodes and decodes the protocol: plain data, records, frames. Does not know about sockets, threads or timeouts.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use rmp::{decode, encode, Marker};

/// Version of the protocol that this client speaks.
pub const PROTOCOL: i64 = 1;
/// Maximum size of a record, in bytes.
pub const MAX_RECORD_BYTES: usize = 8_388_608;
const MAX_DEPTH: usize = 16;
const MAX_ANSWER_DEPTH: usize = 20;
/// Size of a frame's head, in bytes.
pub const HEAD_BYTES: usize = 8;

/// The values of a record's body, a configuration or a summary.
pub type Map = BTreeMap<String, Value>;

/// Plain data. A float stays a float on the wire, also 0.0 and 1.0, and an integer stays an integer.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Map(Map),
}

static NIL: Value = Value::Nil;

impl Value {
    /// The value of this key; `Nil` if the key is missing or this is not a map.
    pub fn get(&self, key: &str) -> &Value {
        match self {
            Value::Map(map) => map.get(key).unwrap_or(&NIL),
            _ => &NIL,
        }
    }

    /// The number as a float, if this is a number.
    pub fn number(&self) -> Option<f64> {
        match *self {
            Value::Int(number) => Some(number as f64),
            Value::UInt(number) => Some(number as f64),
            Value::Float(number) => Some(number),
            _ => None,
        }
    }

    /// The number as a count, if this is an integer that is not negative.
    pub fn count(&self) -> Option<u64> {
        match *self {
            Value::Int(number) => u64::try_from(number).ok(),
            Value::UInt(number) => Some(number),
            _ => None,
        }
    }

    /// The text; empty if this is not a string.
    pub fn text(&self) -> &str {
        match self {
            Value::Text(text) => text,
            _ => "",
        }
    }
}

macro_rules! from {
    ($($type:ty => $make:expr;)*) => {
        $(impl From<$type> for Value {
            fn from(value: $type) -> Value {
                #[allow(clippy::redundant_closure_call)]
                ($make)(value)
            }
        })*
    };
}

from! {
    bool => Value::Bool;
    i64 => Value::Int;
    u64 => Value::UInt;
    f64 => Value::Float;
    String => Value::Text;
    Map => Value::Map;
    i32 => |number: i32| Value::Int(number.into());
    u32 => |number: u32| Value::Int(number.into());
    usize => |number: usize| Value::UInt(number as u64);
    f32 => |number: f32| Value::Float(number.into());
    &str => |text: &str| Value::Text(text.to_owned());
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(list: Vec<T>) -> Value {
        Value::List(list.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Nil, Into::into)
    }
}

/// A map of plain data: `map! {"loss" => 0.5, "step" => 3}`.
#[macro_export]
macro_rules! map {
    ($($key:expr => $value:expr),* $(,)?) => {{
        #[allow(unused_mut)]
        let mut map = $crate::Map::new();
        $(map.insert(::std::string::String::from($key), $crate::Value::from($value));)*
        map
    }};
}

/// A body as msgpack; an error if it is too deep.
pub fn encode_body(body: &Map) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(128);
    write_map(&mut out, body, 1)?;
    Ok(out)
}

const GROWS: &str = "a Vec takes every byte";

fn write_map(out: &mut Vec<u8>, map: &Map, level: usize) -> Result<(), String> {
    check_level(level)?;
    encode::write_map_len(out, map.len() as u32).expect(GROWS);
    for (key, value) in map {
        encode::write_str(out, key).expect(GROWS);
        write_value(out, value, level + 1)?;
    }
    Ok(())
}

fn write_value(out: &mut Vec<u8>, value: &Value, level: usize) -> Result<(), String> {
    match value {
        Value::Nil => encode::write_nil(out).expect(GROWS),
        Value::Bool(flag) => encode::write_bool(out, *flag).expect(GROWS),
        Value::Int(number) => {
            encode::write_sint(out, *number).expect(GROWS);
        }
        Value::UInt(number) => {
            encode::write_uint(out, *number).expect(GROWS);
        }
        Value::Float(number) => encode::write_f64(out, *number).expect(GROWS),
        Value::Text(text) => encode::write_str(out, text).expect(GROWS),
        Value::List(list) => {
            check_level(level)?;
            encode::write_array_len(out, list.len() as u32).expect(GROWS);
            for item in list {
                write_value(out, item, level + 1)?;
            }
        }
        Value::Map(map) => write_map(out, map, level)?,
    }
    Ok(())
}

fn check_level(level: usize) -> Result<(), String> {
    if level > MAX_DEPTH {
        return Err(format!("nested more than {MAX_DEPTH} levels deep"));
    }
    Ok(())
}

/// Seconds since 1970.
pub fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// The run and client of the records.
#[derive(Clone, Debug)]
pub struct Writer {
    pub run: String,
    pub client: String,
}

impl Writer {
    /// One bare record with an encoded body.
    pub fn bare(&self, kind: &str, seq: u64, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.run.len() + body.len());
        self.write(&mut out, kind, seq, unix_time(), body);
        out
    }

    /// One framed record.
    pub fn framed(&self, kind: &str, seq: u64, body: &[u8]) -> Vec<u8> {
        self.framed_at(kind, seq, unix_time(), body)
    }

    /// One framed record of the given time.
    pub fn framed_at(&self, kind: &str, seq: u64, time: f64, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.run.len() + body.len());
        out.resize(HEAD_BYTES, 0);
        self.write(&mut out, kind, seq, time, body);
        finish_frame(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>, kind: &str, seq: u64, time: f64, body: &[u8]) {
        encode::write_array_len(out, 6).expect(GROWS);
        encode::write_str(out, kind).expect(GROWS);
        encode::write_str(out, &self.run).expect(GROWS);
        encode::write_str(out, &self.client).expect(GROWS);
        encode::write_uint(out, seq).expect(GROWS);
        encode::write_f64(out, time).expect(GROWS);
        out.extend_from_slice(body);
    }
}

/// Write the head of a frame, for which there is room before the content.
pub fn finish_frame(frame: &mut [u8]) {
    let length = (frame.len() - HEAD_BYTES) as u32;
    let sum = crc32(&frame[HEAD_BYTES..]);
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame[0] = 0xC1;
    frame[4..8].copy_from_slice(&sum.to_be_bytes());
}

/// Length of the record in a frame, in bytes.
pub fn record_bytes(frame: &[u8]) -> usize {
    frame.len() - HEAD_BYTES
}

/// Kind, client and body of a bare record; None if the record is invalid, since clients ignore those.
pub fn decode_record(mut bytes: &[u8]) -> Option<(String, String, Value)> {
    let elements = match read_value(&mut bytes, 0)? {
        Value::List(elements) if elements.len() == 6 => elements,
        _ => return None,
    };
    let mut elements = elements.into_iter();
    match (elements.next(), elements.nth(1), elements.next_back()) {
        (Some(Value::Text(kind)), Some(Value::Text(client)), Some(body @ Value::Map(_))) => Some((kind, client, body)),
        _ => None,
    }
}

fn read_value(bytes: &mut &[u8], level: usize) -> Option<Value> {
    if level > MAX_ANSWER_DEPTH + 1 {
        return None;
    }
    match Marker::from_u8(*bytes.first()?) {
        Marker::Null => decode::read_nil(bytes).ok().map(|()| Value::Nil),
        Marker::True | Marker::False => decode::read_bool(bytes).ok().map(Value::Bool),
        Marker::U64 => {
            decode::read_u64(bytes).ok().map(|number| i64::try_from(number).map_or(Value::UInt(number), Value::Int))
        }
        Marker::FixPos(_)
        | Marker::FixNeg(_)
        | Marker::U8
        | Marker::U16
        | Marker::U32
        | Marker::I8
        | Marker::I16
        | Marker::I32
        | Marker::I64 => decode::read_int(bytes).ok().map(Value::Int),
        Marker::F32 => decode::read_f32(bytes).ok().map(Value::from),
        Marker::F64 => decode::read_f64(bytes).ok().map(Value::Float),
        Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
            let length = decode::read_str_len(bytes).ok()?;
            String::from_utf8(take(bytes, length)?.to_vec()).ok().map(Value::Text)
        }
        Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
            let length = decode::read_bin_len(bytes).ok()?;
            take(bytes, length).map(|_| Value::Nil) // this client does not use bytes
        }
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
            let length = decode::read_array_len(bytes).ok()?;
            (0..length).map(|_| read_value(bytes, level + 1)).collect::<Option<_>>().map(Value::List)
        }
        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
            let length = decode::read_map_len(bytes).ok()?;
            let mut map = Map::new();
            for _ in 0..length {
                let key = read_value(bytes, level + 1)?;
                let value = read_value(bytes, level + 1)?;
                map.insert(key.text().to_owned(), value);
            }
            Some(Value::Map(map))
        }
        _ => None,
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: u32) -> Option<&'a [u8]> {
    let length = length as usize;
    if bytes.len() < length {
        return None;
    }
    let (head, rest) = bytes.split_at(length);
    *bytes = rest;
    Some(head)
}

const CRC_TABLE: [u32; 256] = crc_table();

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { 0xEDB8_8320 ^ (sum >> 1) } else { sum >> 1 };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| CRC_TABLE[((sum ^ u32::from(*byte)) & 0xFF) as usize] ^ (sum >> 8))
}
