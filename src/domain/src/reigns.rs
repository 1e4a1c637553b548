//! Who has led, with which key, and what each could read: the public half of everything signed.
//!
//! Owns:   one record for every change of leader, key, address or program; a restart of the same is
//!         counted into the one before it. The latest [`REIGNS_MAX`]: the journal has the others.

use serde::{Deserialize, Serialize};

use crate::event::LeaderStarted;
use crate::ids::{Hex, Timestamp};

/// So many are kept: two instances that take over from each other every hour for six weeks.
pub const REIGNS_MAX: usize = 1_024;

/// Reigns one behind the other of one instance, with one key and one program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reign {
    /// What it signs with; none in the time before keys, and below level 2.
    pub key: Option<Hex<32>>,
    /// Its first epoch here.
    pub first_epoch: u64,
    /// Its last.
    pub last_epoch: u64,
    /// When the first of them began, in log time.
    pub since: Timestamp,
    /// How others reached it.
    pub url: Box<str>,
    /// Version of the program.
    pub version: Box<str>,
    /// The highest level of features that it said it reads.
    pub reads_level: u32,
}

/// The latest reigns, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reigns(Vec<Reign>);

impl Reigns {
    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Reign> {
        self.0.iter()
    }

    pub(crate) fn begin(&mut self, e: &LeaderStarted) {
        if let Some(last) = self.0.last_mut()
            && (last.key, &last.url, &last.version, last.reads_level)
                == (e.key, &e.url, &e.version, e.reads_level)
        {
            last.last_epoch = e.epoch;
            return;
        }
        if self.0.len() == REIGNS_MAX {
            self.0.remove(0);
        }
        self.0.push(Reign {
            key: e.key,
            first_epoch: e.epoch,
            last_epoch: e.epoch,
            since: e.at,
            url: e.url.clone(),
            version: e.version.clone(),
            reads_level: e.reads_level,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(epoch: u64, key: Option<u8>) -> LeaderStarted {
        LeaderStarted {
            at: Timestamp(epoch),
            epoch,
            boot: uuid::Uuid::nil(),
            url: "http://a".into(),
            version: "1".into(),
            key: key.map(|byte| Hex([byte; 32])),
            reads_level: 2,
        }
    }

    #[test]
    fn of_many_reigns_the_latest_are_kept() {
        let mut reigns = Reigns::default();
        let epochs = REIGNS_MAX as u64 + 3;
        for epoch in 1..=epochs {
            reigns.begin(&started(epoch, Some(u8::from(epoch % 2 == 0))));
        }
        let kept: Vec<_> = reigns.iter().map(|reign| reign.first_epoch).collect();
        assert_eq!(kept, (4..=epochs).collect::<Vec<_>>());
    }

    #[test]
    fn a_restart_of_the_same_is_one_reign_and_another_key_is_another() {
        let mut reigns = Reigns::default();
        for (epoch, key) in [(1, None), (2, Some(7)), (3, Some(7)), (4, Some(8)), (5, Some(7))] {
            reigns.begin(&started(epoch, key));
        }
        let seen: Vec<_> =
            reigns.iter().map(|r| (r.key.map(|k| k.0[0]), r.first_epoch, r.last_epoch)).collect();
        assert_eq!(seen, [(None, 1, 1), (Some(7), 2, 3), (Some(8), 4, 4), (Some(7), 5, 5)]);
    }
}
