//! The language between the agent and the keeper of one sandbox.
//!
//! Owns:   [`Order`], [`Ask`], [`Tell`], and how they are framed on a socket.
//! Never:  crosses a machine or a version: both ends are the same executable, so there is no
//!         compatibility to keep.
//!
//! A frame is its length (u32, little endian) and that many bytes. The first frame is an [`Order`],
//! the second the standard input as it is; then [`Ask`] one way and [`Tell`] the other.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{LaunchError, cgroup::Hierarchy};

/// A frame longer than this is a bug, not a message: the largest holds a submission's standard
/// input, which the gateway bounds far below.
const FRAME_MAX: usize = 256 << 20;

/// Everything a keeper has to know; it reads no configuration and has no environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Name of the container, and of its control groups below the agent's own.
    pub name: String,
    pub root: Root,
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: String,
    pub cpu_milli: u32,
    pub mem_mb: u32,
    pub pids: u32,
    pub tmp_mb: u32,
    /// The user the sandbox is on the machine, when this process may choose one.
    pub host_id: Option<u32>,
    /// An empty directory of ours on which the root is assembled (in a private mount namespace).
    pub stage: PathBuf,
    /// Where control groups can be made.
    pub hierarchies: Vec<Hierarchy>,
    pub engine: Engine,
}

/// What the root shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Root {
    Host { with_self: bool },
    Dir(PathBuf),
}

/// Who isolates.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Engine {
    Embedded,
    Oci { program: PathBuf, state: PathBuf, bundle: PathBuf },
}

/// From the agent to the keeper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Terminate now, kill after so many milliseconds. A later one can only bring the end forward.
    Stop { grace_ms: u64 },
}

/// From the keeper to the agent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Tell {
    /// The command has been executed. `missing` says which features could not be enforced.
    Started { missing: Vec<(String, String)> },
    /// The sandbox did not start, and nothing of it is left.
    Refused(Refused),
    /// The command has ended, and everything else in the sandbox with it.
    Ended {
        exit_code: Option<i32>,
        signal: Option<i32>,
        out_of_memory: bool,
        cpu_ms: u64,
        max_rss_mb: u64,
        wall_ms: u64,
    },
    /// Something an operator may want to look at.
    Warn(String),
}

/// [`LaunchError`], as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Refused {
    Command { exit_code: i32, message: String },
    Spec(String),
    Node(String),
}

impl From<Refused> for LaunchError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Command { exit_code, message } => LaunchError::Command { exit_code, message },
            Refused::Spec(why) => LaunchError::Spec(why),
            Refused::Node(why) => LaunchError::Node(why),
        }
    }
}

/// One frame of bytes.
pub(crate) fn frame(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + 4);
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// One message as a frame.
pub(crate) fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    Ok(frame(&serde_json::to_vec(message)?))
}

/// Writes one message.
pub(crate) fn send<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    to.write_all(&encode(message)?)
}

/// Reads one frame, blocking. `None` at the end of the stream.
pub(crate) fn receive_bytes(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; 4];
    match from.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = check(u32::from_le_bytes(head) as usize)?;
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some(body))
}

/// Reads one message, blocking. `None` at the end of the stream.
pub(crate) fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    receive_bytes(from)?.map(|body| Ok(serde_json::from_slice(&body)?)).transpose()
}

/// Takes one whole message off the front of a buffer, if there is one.
pub(crate) fn take<T: DeserializeOwned>(buffer: &mut Vec<u8>) -> io::Result<Option<T>> {
    let Some(head) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = check(u32::from_le_bytes(*head) as usize)?;
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    let message = serde_json::from_slice(&buffer[4..4 + length])?;
    buffer.drain(..4 + length);
    Ok(Some(message))
}

fn check(length: usize) -> io::Result<usize> {
    if length > FRAME_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long"));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_out_once_it_is_whole() {
        let bytes = encode(&Ask::Stop { grace_ms: 7 }).unwrap();
        let mut buffer = Vec::new();
        for (n, byte) in bytes.iter().enumerate() {
            assert!(take::<Ask>(&mut buffer).unwrap().is_none(), "whole after {n} bytes");
            buffer.push(*byte);
        }
        let Some(Ask::Stop { grace_ms }) = take(&mut buffer).unwrap() else { panic!("not whole") };
        assert_eq!((grace_ms, buffer.len()), (7, 0));
    }

    #[test]
    fn an_absurd_length_is_refused_before_memory_is_taken() {
        let mut buffer = u32::MAX.to_le_bytes().to_vec();
        assert!(take::<Ask>(&mut buffer).is_err());
        assert!(receive_bytes(&mut &u32::MAX.to_le_bytes()[..]).is_err());
    }
}
