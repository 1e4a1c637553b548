//! The court: the law in force, made ready to judge by.

use std::sync::Arc;

use crate::law::Law;

/// The law of one revision, as judges hold it. Immutable: the next one is made beside it.
#[derive(Clone, Debug, Default)]
pub struct Court {
    law: Arc<Law>,
}

impl From<Law> for Court {
    fn from(law: Law) -> Self {
        Self::new(Arc::new(law))
    }
}

impl Court {
    /// A court for `law`.
    pub fn new(law: Arc<Law>) -> Self {
        Self { law }
    }

    /// The law.
    pub fn law(&self) -> &Arc<Law> {
        &self.law
    }
}
