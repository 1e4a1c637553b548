//! A wire whose weather can be changed: TCP to a port, as long as nobody says otherwise.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, listen, shutdown, socket, sockopt};

use crate::wait::pause;

/// Connections that wait to be taken.
const BACKLOG: i32 = 1_024;
/// How often a copier looks how the weather is.
const LOOK: Duration = Duration::from_millis(5);
/// What an append to the journal looks like on the wire: a script of these two keys alone. The
/// beginning of a command is in one piece, as it is written in one.
const APPEND: &[u8] = b"\r\n2\r\n$16\r\ntartarus:journal\r\n$13\r\ntartarus:head\r\n";

/// What the wire does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Lets everything through.
    Fair,
    /// Holds both ways, in silence; what was held is let through later.
    Silent,
    /// Lets requests through, and holds what comes back.
    OneWay,
    /// Lets through one byte at a time.
    Drizzle,
    /// Ends every connection, and refuses new ones.
    Refusing,
    /// Ends every connection, and takes new ones.
    Reset,
    /// Loses the reply of the next append to the journal, with the connection; then is fair.
    LosesReply,
    /// Holds the next append to the journal for so long and delivers it then, whoever still waits
    /// for it; then is fair.
    HoldsAppend(Duration),
}

/// A listening port whose connections go to another one.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    over: AtomicBool,
    weather: Mutex<Weather>,
    /// Raised to end every connection there is.
    storm: AtomicUsize,
    struck: AtomicUsize,
    let_go: AtomicUsize,
}

impl Shared {
    fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is(&self, weather: Weather) -> bool {
        *self.weather() == weather
    }

    /// The weather, if it is meant for an append; it is fair for the next one.
    fn strike(&self) -> Option<Weather> {
        let mut weather = self.weather();
        let strikes = matches!(*weather, Weather::LosesReply | Weather::HoldsAppend(_));
        strikes.then(|| {
            self.struck.fetch_add(1, Ordering::Relaxed);
            std::mem::replace(&mut *weather, Weather::Fair)
        })
    }
}

impl Proxy {
    /// A wire to a port of the loopback.
    ///
    /// # Panics
    /// No port is free.
    pub fn to(target: u16) -> Self {
        let shared = Arc::new(Shared {
            over: AtomicBool::new(false),
            weather: Mutex::new(Weather::Fair),
            storm: AtomicUsize::new(0),
            struck: AtomicUsize::new(0),
            let_go: AtomicUsize::new(0),
        });
        // One that was free a moment ago may be another's by now, or have connections that still end.
        let (port, listener) = crate::until_sync("a free port", || {
            let port = crate::net::free_port();
            bound(port).ok().map(|listener| (port, listener))
        });
        let inner = Arc::clone(&shared);
        let accepting = Some(std::thread::spawn(move || accept(&listener, target, &inner)));
        Self { port, shared, accepting }
    }

    /// `host:port`.
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Lets nothing through any more, in silence; or everything again.
    pub fn cut(&self, cut: bool) {
        self.set(if cut { Weather::Silent } else { Weather::Fair });
    }

    /// Changes the weather.
    pub fn set(&self, weather: Weather) {
        *self.shared.weather() = weather;
        if matches!(weather, Weather::Refusing | Weather::Reset) {
            self.shared.storm.fetch_add(1, Ordering::Relaxed);
        }
        if weather == Weather::Refusing {
            crate::until_sync("the port to refuse", || {
                TcpStream::connect(("127.0.0.1", self.port)).is_err().then_some(())
            });
        } else {
            crate::until_sync("the port to listen", || {
                TcpStream::connect(("127.0.0.1", self.port)).is_ok().then_some(())
            });
        }
    }

    /// How many appends were struck.
    pub fn struck(&self) -> usize {
        self.shared.struck.load(Ordering::Relaxed)
    }

    /// How many of the appends that were held have been let go: delivered, where somebody is there.
    pub fn let_go(&self) -> usize {
        self.shared.let_go.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        self.shared.storm.fetch_add(1, Ordering::Relaxed);
        let _ = self.accepting.take().map(JoinHandle::join);
    }
}

/// A socket that does not listen yet. It says that a port may be used again, and not, as the standard
/// library does, that an address may: that would let everybody who says so too bind it while it does
/// not listen. So only another that says the same, of the same user, can bind it: a wire of another
/// test, no server. It can listen again beside the connections it took before.
fn bound(port: u16) -> std::io::Result<TcpListener> {
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseport(&listener, true)?;
    bind(&listener, &SocketAddr::from(([127, 0, 0, 1], port)))?;
    let listener = TcpListener::from(listener);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn accept(listener: &TcpListener, target: u16, shared: &Arc<Shared>) {
    let mut listens = false;
    while !shared.over.load(Ordering::Relaxed) {
        let refuses = shared.is(Weather::Refusing);
        if refuses && listens {
            // It stays bound.
            shutdown(listener, rustix::net::Shutdown::Read).expect("it stops to listen");
            listens = false;
        } else if !refuses && !listens {
            listens = listen(listener, BACKLOG).is_ok();
        }
        let Ok((here, _)) = listener.accept() else {
            std::thread::park_timeout(LOOK);
            continue;
        };
        let Ok(there) = TcpStream::connect(("127.0.0.1", target)) else { continue };
        let _ = here.set_nonblocking(false);
        let (Ok(here2), Ok(there2)) = (here.try_clone(), there.try_clone()) else { continue };
        let (one, other) = (Arc::clone(shared), Arc::clone(shared));
        // Set by the way there, where the reply is to be lost.
        let lose = Arc::new(AtomicUsize::new(0));
        let lost = Arc::clone(&lose);
        std::thread::spawn(move || copy(here, there, &one, Some(&lose), &Arc::default()));
        std::thread::spawn(move || copy(there2, here2, &other, None, &lost));
    }
}

/// Copies until either end is gone. `asks` is there on the way to the server.
fn copy(
    mut from: TcpStream,
    mut to: TcpStream,
    shared: &Shared,
    asks: Option<&AtomicUsize>,
    lose: &AtomicUsize,
) {
    let born = shared.storm.load(Ordering::Relaxed);
    let _ = from.set_read_timeout(Some(LOOK));
    let _ = to.set_nodelay(true);
    let mut bytes = vec![0; 64 << 10];
    'copying: while shared.storm.load(Ordering::Relaxed) == born {
        let read = match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => break,
        };
        let bytes = &bytes[..read];
        if lose.load(Ordering::Relaxed) > 0 {
            break;
        }
        let mut held = false;
        if let Some(lose) = asks
            && bytes.windows(APPEND.len()).any(|part| part == APPEND)
        {
            match shared.strike() {
                Some(Weather::LosesReply) => lose.store(1, Ordering::Relaxed),
                Some(Weather::HoldsAppend(time)) => {
                    let since = Instant::now();
                    while since.elapsed() < time {
                        std::thread::park_timeout(LOOK);
                    }
                    held = true;
                }
                Some(_) | None => {}
            }
        }
        while shared.is(Weather::Silent) || asks.is_none() && shared.is(Weather::OneWay) {
            if shared.storm.load(Ordering::Relaxed) != born {
                break 'copying;
            }
            pause();
        }
        let at_once = if shared.is(Weather::Drizzle) { 1 } else { read };
        let gone = bytes.chunks(at_once).any(|part| to.write_all(part).is_err());
        shared.let_go.fetch_add(usize::from(held), Ordering::Relaxed);
        if gone {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_refuses_is_nobody_elses_and_listens_again() {
        let target = TcpListener::bind("127.0.0.1:0").expect("a port");
        let proxy = Proxy::to(target.local_addr().expect("bound").port());
        for _ in 0..3 {
            proxy.set(Weather::Fair);
            let mut here = TcpStream::connect(proxy.addr()).expect("it listens");
            let mut there = target.accept().expect("it is let through").0;
            here.write_all(b"x").expect("written");
            // What comes before are the looks of `set`.
            while there.read(&mut [0]).expect("read") == 0 {
                there = target.accept().expect("it is let through").0;
            }
            proxy.set(Weather::Refusing);
            assert!(TcpStream::connect(proxy.addr()).is_err());
            assert!(TcpListener::bind(proxy.addr()).is_err(), "it is taken");
        }
        let addr = proxy.addr();
        proxy.set(Weather::Fair);
        drop(proxy);
        assert!(TcpStream::connect(addr).is_err(), "nobody listens any more");
    }
}
