//! Output of a run, a chunk a line.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::time::Time;

/// One of a program's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A piece of output. `data` is text; bytes that are not UTF-8 travel as base64, and say so in
/// `encoding`, so that nothing a program writes is changed on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogChunk<'a> {
    /// When the node read it.
    pub time: Time,
    /// Where it was written.
    pub stream: Stream,
    /// What was written.
    pub data: Cow<'a, str>,
    /// How `data` is written where it is not the text itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
}

/// How bytes that are not text are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// RFC 4648, section 4, padded.
    Base64,
}

/// A chunk whose base64 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chunk of output is said to be base64 and is not")]
pub struct BadChunk;

impl<'a> LogChunk<'a> {
    /// A chunk of `bytes`.
    pub fn new(time: Time, stream: Stream, bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self { time, stream, data: Cow::Borrowed(text), encoding: None },
            Err(_) => Self {
                time,
                stream,
                data: Cow::Owned(STANDARD.encode(bytes)),
                encoding: Some(Encoding::Base64),
            },
        }
    }

    /// The bytes the program wrote.
    ///
    /// # Errors
    /// The chunk is said to be base64 and is not.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, BadChunk> {
        match self.encoding {
            None => Ok(Cow::Borrowed(self.data.as_bytes())),
            Some(Encoding::Base64) => {
                STANDARD.decode(self.data.as_bytes()).map(Cow::Owned).map_err(|_| BadChunk)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_sent_as_it_is() {
        let chunk = LogChunk::new(Time(0), Stream::Stdout, "42\n".as_bytes());
        let line = serde_json::to_string(&chunk).unwrap();
        assert_eq!(line, r#"{"time":"1970-01-01T00:00:00.000Z","stream":"stdout","data":"42\n"}"#);
    }

    proptest! {
        #[test]
        fn every_byte_arrives(bytes: Vec<u8>) {
            let line = serde_json::to_vec(&LogChunk::new(Time(1), Stream::Stderr, &bytes)).unwrap();
            let chunk: LogChunk<'_> = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(&*chunk.bytes().unwrap(), &*bytes);
        }
    }
}
