//! A wire that can be cut: TCP to a port, as long as nobody says otherwise.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::wait::pause;

/// How often a copier looks whether the wire is cut.
const LOOK: Duration = Duration::from_millis(5);

/// A listening port whose connections go to another one.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    cut: Arc<AtomicBool>,
}

impl Proxy {
    /// A wire to a port of the loopback.
    ///
    /// # Panics
    /// No port is free.
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let cut = Arc::new(AtomicBool::new(false));
        let inner = Arc::clone(&cut);
        std::thread::spawn(move || {
            for here in listener.incoming().flatten() {
                let Ok(there) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let (Ok(here2), Ok(there2)) = (here.try_clone(), there.try_clone()) else {
                    continue;
                };
                let (one, two) = (Arc::clone(&inner), Arc::clone(&inner));
                std::thread::spawn(move || copy(here, there, &one));
                std::thread::spawn(move || copy(there2, here2, &two));
            }
        });
        Self { port, cut }
    }

    /// `host:port`.
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Lets nothing through any more, in silence; or everything again.
    pub fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
    }
}

/// Copies until either end is gone. While the wire is cut, what was read is held.
fn copy(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let _ = from.set_read_timeout(Some(LOOK));
    let _ = to.set_nodelay(true);
    let mut bytes = vec![0; 64 << 10];
    loop {
        let read = match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => break,
        };
        while cut.load(Ordering::Relaxed) {
            pause();
        }
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
