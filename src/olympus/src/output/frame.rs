//! The frame of one chunk in a file.
//!
//! | Bytes | Are |
//! |---|---|
//! | 4 | CRC-32C of everything behind it |
//! | 4 | length of the data |
//! | 4 | number of the chunk, from 0 |
//! | 8 | the agent's wall clock when it was read, in milliseconds since 1970 |
//! | 1 | 1 standard output, 2 standard error, 0 the token of the attempt |
//! | | the data |
//!
//! Numbers have their least significant byte first. The token is the first frame of a file, numbered 0
//! and of no time; files from before tokens were kept have none.

use api::Stream;
use api::session::CHUNK_BYTES;
use bytes::Bytes;
use domain::ids::{Hex, Token};

/// Bytes before the data.
pub const FRAME_HEADER: usize = 21;

/// A piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its number, from 0.
    pub number: u32,
    /// Which stream.
    pub stream: Stream,
    /// The agent's wall clock in milliseconds since 1970.
    pub time_ms: u64,
    /// What was written.
    pub data: Bytes,
}

/// What bytes at a place in a file are.
pub(super) enum Found {
    /// A chunk that takes so many bytes.
    Whole(Chunk, usize),
    /// Whose chunks follow.
    Of(Token, usize),
    /// The beginning of one: so many bytes are needed to tell.
    Part(usize),
    /// None.
    Damaged,
}

/// In place of a stream.
const TOKEN: u8 = 0;

/// The frame of a chunk.
pub(super) fn frame(number: u32, stream: Stream, time_ms: u64, data: &[u8]) -> Vec<u8> {
    framed(number, stream.byte(), time_ms, data)
}

/// The frame that says whose the file is.
pub(super) fn token_frame(token: Token) -> Vec<u8> {
    framed(0, TOKEN, 0, &token.0)
}

fn framed(number: u32, kind: u8, time_ms: u64, data: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_HEADER + data.len());
    frame.extend_from_slice(&[0; 4]);
    // A chunk is 64 KiB at most.
    frame.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend_from_slice(&number.to_le_bytes());
    frame.extend_from_slice(&time_ms.to_le_bytes());
    frame.push(kind);
    frame.extend_from_slice(data);
    let crc = crc32c::crc32c(&frame[4..]);
    frame[..4].copy_from_slice(&crc.to_le_bytes());
    frame
}

/// The chunk at the beginning of `bytes`, sharing their memory.
pub(super) fn parse(bytes: &Bytes) -> Found {
    let Some((header, _)) = bytes.split_first_chunk::<FRAME_HEADER>() else {
        return Found::Part(FRAME_HEADER);
    };
    let u32_at = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let (crc, len, number) = (u32_at(0), u32_at(4) as usize, u32_at(8));
    let (low, high) = (u64::from(u32_at(12)), u64::from(u32_at(16)));
    let stream = Stream::from_byte(header[20]);
    if !(1..=CHUNK_BYTES).contains(&len) || (stream.is_none() && header[20] != TOKEN) {
        return Found::Damaged;
    }
    let whole = FRAME_HEADER + len;
    if bytes.len() < whole {
        return Found::Part(whole);
    }
    if crc32c::crc32c(&bytes[4..whole]) != crc {
        return Found::Damaged;
    }
    let data = bytes.slice(FRAME_HEADER..whole);
    match stream {
        Some(stream) => {
            Found::Whole(Chunk { number, stream, time_ms: low | (high << 32), data }, whole)
        }
        None => match data[..].try_into() {
            Ok(token) => Found::Of(Hex(token), whole),
            Err(_) => Found::Damaged,
        },
    }
}
