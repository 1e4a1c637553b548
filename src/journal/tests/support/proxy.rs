//! A network that breaks: connections that end after a random number of bytes, in one direction or
//! the other, so that a request or a reply is lost in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::dice::Dice;

/// A proxy in front of a server on the loopback. Ends with the runtime of its test.
pub struct Proxy {
    pub port: u16,
    cuts: Arc<AtomicU64>,
}

impl Proxy {
    /// Passes on to `port`; each connection lives for less than `most` bytes a direction.
    pub async fn before(port: u16, most: u64, mut dice: Dice) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap().port();
        let cuts = Arc::new(AtomicU64::new(0));
        let counted = cuts.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (there, back) = (dice.below(most), dice.below(most));
                let counted = counted.clone();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    // Both ends close when either direction has used up its bytes.
                    tokio::select! {
                        () = pass(from_client, to_server, there) => {}
                        () = pass(from_server, to_client, back) => {}
                    }
                    counted.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        Self { port: here, cuts }
    }

    /// Connections that were cut.
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut left: u64) {
    let mut buffer = [0; 1 << 14];
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let Ok(read @ 1..) = from.read(&mut buffer[..most]).await else { return };
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        left -= read as u64;
    }
}
