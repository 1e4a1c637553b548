//! The binary frame: a chunk of output.

use domain::ids::{Hex, RunId};
use uuid::Uuid;

use super::{AttemptRef, CHUNK_BYTES};
use crate::logs::Stream;

impl Stream {
    /// The stream as a byte, in frames and digests: its file descriptor.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }

    /// The stream of a byte.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Stdout),
            2 => Some(Self::Stderr),
            _ => None,
        }
    }
}

/// One chunk of output: the binary frame.
///
/// | Bytes | Are |
/// |---|---|
/// | 1 | 1, the only kind of binary frame |
/// | 16 | the run |
/// | 4 | number of the attempt |
/// | 16 | the token |
/// | 4 | number of the chunk, from 0 |
/// | 1 | 1 standard output, 2 standard error |
/// | 8 | the agent's wall clock when it was read, in milliseconds since 1970 |
/// | 1 to [`CHUNK_BYTES`] | the data |
///
/// Numbers have their least significant byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output<'a> {
    /// Which attempt.
    pub of: AttemptRef,
    /// Number of the chunk, from 0.
    pub number: u32,
    /// Which stream.
    pub stream: Stream,
    /// The agent's wall clock in milliseconds since 1970.
    pub time_ms: u64,
    /// What was written; never empty.
    pub data: &'a [u8],
}

/// A binary frame that is no output chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// Shorter than a header and a byte.
    #[error("output frame of {0} bytes is too short")]
    Short(usize),
    /// More than [`CHUNK_BYTES`] of data.
    #[error("output frame of {0} bytes is too long")]
    Long(usize),
    /// Not kind 1.
    #[error("unknown kind of binary frame: {0}")]
    Kind(u8),
    /// Neither stream.
    #[error("unknown output stream: {0}")]
    Stream(u8),
}

impl<'a> Output<'a> {
    /// Bytes before the data.
    pub const HEADER_BYTES: usize = 50;
    const KIND: u8 = 1;

    /// The frame's bytes.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(Self::HEADER_BYTES + self.data.len());
        frame.push(Self::KIND);
        frame.extend_from_slice(self.of.run.0.as_bytes());
        frame.extend_from_slice(&self.of.attempt.to_le_bytes());
        frame.extend_from_slice(&self.of.token.0);
        frame.extend_from_slice(&self.number.to_le_bytes());
        frame.push(self.stream.byte());
        frame.extend_from_slice(&self.time_ms.to_le_bytes());
        frame.extend_from_slice(self.data);
        frame
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// [`BadFrame`] says what is wrong with it; the session should be ended then.
    pub fn from_frame(frame: &'a [u8]) -> Result<Self, BadFrame> {
        let Some((header, data)) = frame.split_first_chunk::<{ Output::HEADER_BYTES }>() else {
            return Err(BadFrame::Short(frame.len()));
        };
        if data.is_empty() {
            return Err(BadFrame::Short(frame.len()));
        }
        if data.len() > CHUNK_BYTES {
            return Err(BadFrame::Long(frame.len()));
        }
        if header[0] != Self::KIND {
            return Err(BadFrame::Kind(header[0]));
        }
        let stream = Stream::from_byte(header[41]).ok_or(BadFrame::Stream(header[41]))?;
        Ok(Self {
            of: AttemptRef {
                run: RunId(Uuid::from_bytes(part(header, 1))),
                attempt: u32::from_le_bytes(part(header, 17)),
                token: Hex(part(header, 21)),
            },
            number: u32::from_le_bytes(part(header, 37)),
            stream,
            time_ms: u64::from_le_bytes(part(header, 42)),
            data,
        })
    }
}

fn part<const N: usize>(header: &[u8; Output::HEADER_BYTES], from: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&header[from..from + N]);
    bytes
}
