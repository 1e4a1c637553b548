//! A wire whose weather can be changed: TCP to a port, as long as nobody says otherwise.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::wait::pause;

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
}

#[derive(Debug)]
struct Shared {
    weather: Mutex<Weather>,
    /// Raised to end every connection there is.
    storm: AtomicUsize,
    struck: AtomicUsize,
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
        let port = crate::net::free_port();
        let shared = Arc::new(Shared {
            weather: Mutex::new(Weather::Fair),
            storm: AtomicUsize::new(0),
            struck: AtomicUsize::new(0),
        });
        let listener = listen(port).expect("a free port");
        let inner = Arc::clone(&shared);
        std::thread::spawn(move || accept(listener, port, target, &inner));
        Self { port, shared }
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
}

fn listen(port: u16) -> Option<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", port)).ok()?;
    listener.set_nonblocking(true).ok().map(|()| listener)
}

fn accept(listener: TcpListener, port: u16, target: u16, shared: &Arc<Shared>) {
    let mut listener = Some(listener);
    loop {
        if shared.is(Weather::Refusing) {
            listener = None;
        } else if listener.is_none() {
            listener = listen(port);
        }
        let Some(Ok((here, _))) = listener.as_ref().map(TcpListener::accept) else {
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
        if bytes.chunks(at_once).any(|part| to.write_all(part).is_err()) {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
