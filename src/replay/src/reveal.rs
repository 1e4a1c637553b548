//! A secret shown to somebody who has a redacted export: a copy of its entry without any other secret.
//!
//! Says:   the line of an export for that copy. It has the id and the hash of the entry, so whoever
//!         verified the entry without the secret knows that it is this one and no other.
//! Never:  shows marks, nor a secret of another event of the entry.
//! Proof:  `tests/memory/reveals.rs`.

use api::event::Place;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Texts;
use domain::{Event, RunId};
use journal::apart::Secret;
use journal::{Entry, Kinds, Receipt, catalog};
use serde::Serialize;

use crate::export::{EntryLine, line};
use crate::fold::{self, Fold};
use crate::source::{Over, Source, Unreadable};

/// Whose secret it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A run's, as it was submitted.
    Run(RunId),
    /// That of an event.
    Event(Place),
}

/// A copy of an entry with the secrets of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening(Entry);

/// What an opening shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The event.
    pub event: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The run that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Its environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Texts>,
    /// Its standard input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Box<str>>,
}

impl Opening {
    /// Reads a line that [`Opening::line`] made. That it belongs to an entry is still to be asked:
    /// [`Opening::opens`].
    ///
    /// # Errors
    /// It is none, or damaged.
    pub fn read(line: &str) -> Result<Self, String> {
        let EntryLine { entry, bytes } = serde_json::from_str(line)
            .map_err(|error| format!("it is no line of `tartarus audit reveal` ({error})"))?;
        let Receipt(id) = entry.parse().map_err(|error| format!("its receipt: {error}"))?;
        let bytes = STANDARD.decode(bytes).map_err(|error| format!("its bytes: {error}"))?;
        let entry = Entry::parse(id, bytes.into()).map_err(|damaged| damaged.to_string())?;
        Ok(Self(entry))
    }

    /// As a line, with its end.
    pub fn line(&self) -> Vec<u8> {
        line(&EntryLine::of(&self.0))
    }

    /// The entry that it is of.
    pub fn receipt(&self) -> Receipt {
        Receipt(self.0.id())
    }

    /// Whether it is a copy of this very entry: the whole hashes are the same.
    pub fn opens(&self, entry: &Entry) -> bool {
        self.0.position() == entry.position()
    }

    /// What it shows.
    pub fn shown(&self) -> Vec<Shown> {
        let open = |secret| matches!(secret, Secret::Open(_));
        let secrets: Vec<_> = self.0.records().map(|record| record.secrets).collect();
        let shown = catalog::events(&self.0).flatten().filter_map(|(n, event)| {
            let of = secrets.get(n as usize)?;
            let (env, stdin) = given(&event)?;
            let (env, stdin) = (env.filter(|_| open(of.env)), stdin.filter(|_| open(of.stdin)));
            let place = Place { sequence: self.0.seq(), n: Some(n) };
            (env.is_some() || stdin.is_some()).then(|| Shown {
                event: place.to_string(),
                kind: catalog::type_of(&event).name,
                run: event.run().map(|run| run.to_string()),
                env: env.cloned(),
                stdin: stdin.cloned(),
            })
        });
        shown.collect()
    }
}

type Given<'a> = (Option<&'a Texts>, Option<&'a Box<str>>);

/// What an event was given that may be a secret.
fn given(event: &Event) -> Option<Given<'_>> {
    match event {
        Event::RunAdmitted(e) => Some((Some(&e.submission.env), Some(&e.submission.stdin))),
        Event::RunRejected(e) => Some((Some(&e.submission.env), Some(&e.submission.stdin))),
        Event::TemplatePut(e) => Some((Some(&e.template.env), None)),
        _ => None,
    }
}

struct Search {
    whose: Whose,
    kinds: Kinds,
    /// The event was there.
    seen: Option<Place>,
    found: Option<Opening>,
}

impl Fold for Search {
    fn entry(&mut self, entry: &Entry) -> bool {
        for (n, event) in catalog::events(entry).flatten() {
            let place = Place { sequence: entry.seq(), n: Some(n) };
            let is = match self.whose {
                Whose::Run(run) => event.run() == Some(run) && given(&event).is_some(),
                Whose::Event(wanted) => wanted == place,
            };
            if is {
                self.seen = Some(place);
                let opening = Opening(entry.revealing(n, self.kinds));
                self.found = (!opening.shown().is_empty()).then_some(opening);
                return false;
            }
        }
        !matches!(self.whose, Whose::Event(wanted) if entry.seq() >= wanted.sequence)
    }
}

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub enum NotShown {
    /// The journal can't be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Nobody knows it.
    #[error("nothing in the journal was given to it")]
    Unknown,
    /// It was given none of what is asked for, or its entry keeps no secrets apart.
    #[error(
        "event {0} has none of it to be shown alone: it was given none, it was taken out here, or its \
         entry is of format 1, which keeps no secrets apart"
    )]
    Nothing(Place),
}

/// Finds what was given to a run, or in an event, and shows these kinds of it and nothing else.
///
/// # Errors
/// See [`NotShown`].
pub async fn find(
    source: &mut Source,
    whose: Whose,
    kinds: Kinds,
    seen: impl FnMut(u64),
) -> Result<Opening, NotShown> {
    if let Whose::Event(place) = whose {
        source.skip_to(fold::Point::Sequence(place.sequence)).await?;
    }
    let search = Search { whose, kinds, seen: None, found: None };
    let (search, over) = fold::run(source, search, seen).await;
    match (search.found, search.seen, over) {
        (Some(opening), _, _) => Ok(opening),
        (None, Some(place), _) => Err(NotShown::Nothing(place)),
        (None, None, Over::Trouble(trouble)) => Err(trouble.into()),
        (None, None, Over::Bad(finding)) => Err(Unreadable::Bad(finding).into()),
        (None, None, Over::End) => Err(NotShown::Unknown),
    }
}
