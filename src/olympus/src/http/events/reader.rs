//! The journal, read for one answer, with what has left it.

use domain::Sequence;
use journal::{Entry, Header};
use replay::Point;
use replay::source::{Over, Source, Unreadable};

use super::super::problem::{self, Fault};
use super::super::{AppState, Open};

/// So much is read at a time.
const PAGE_BYTES: usize = 1 << 20;

/// See the module.
pub struct Reader {
    source: Source,
    /// The entry that it reads next.
    next: Sequence,
}

impl Reader {
    /// A reader of all that there is.
    pub async fn open(state: &AppState, open: &Open) -> Result<Self, Fault> {
        let source = state.pasts.source(&open.journal, PAGE_BYTES).await.map_err(unread)?;
        Ok(Self { source, next: 1 })
    }

    /// The first entry of whose header `holds` holds; it must hold of all behind it too.
    pub async fn first_where(
        &mut self,
        holds: impl Fn(&Header) -> bool,
    ) -> Result<Sequence, Fault> {
        self.source.first_where(holds).await.map_err(unread)
    }

    /// The entries behind `after`, some of them; none at the end.
    pub async fn page(&mut self, after: Sequence) -> Result<Vec<Entry>, Fault> {
        if after + 1 != self.next {
            self.source.skip_to(Point::Sequence(after + 1)).await.map_err(unread)?;
        }
        let (page, over) = self.source.page().await;
        match over {
            None | Some(Over::End) => {}
            Some(Over::Trouble(trouble)) => return Err(unread(trouble)),
            Some(Over::Bad(finding)) => {
                return Err(problem::internal("read the journal", &finding));
            }
        }
        self.next = page.last().map_or(after, Entry::seq) + 1;
        Ok(page)
    }
}

/// Why the journal, or what has left it, was not read.
pub fn unread(why: Unreadable) -> Fault {
    match why {
        Unreadable::Journal(trouble) => problem::unread(&trouble),
        Unreadable::Archive(error) => problem::unread(&error),
        other => problem::internal("read the journal", &other),
    }
}
