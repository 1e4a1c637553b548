//! The law of one revision, as it was and with the draft in its place.

use std::sync::Arc;

use domain::Court;
use domain::command::Refusal;
use domain::court::Statute;
use domain::law::{Current, Law, Policy};
use domain::pattern::glob;
use domain::submission::Heat;

/// Two courts of one moment.
pub struct Bench {
    /// The law's revision.
    pub revision: u64,
    /// As it was.
    pub then: Court,
    /// With the draft in the place of the policy of its name.
    pub under_draft: Court,
    draft: Arc<Policy>,
    /// A policy of then that claims what the draft claims, so that neither is more specific.
    tied: Option<Box<str>>,
}

impl Bench {
    /// The courts of `law`; what the ones before have compiled is taken over.
    pub fn new(law: Arc<Law>, draft: &Arc<Policy>, before: Option<Self>) -> Self {
        let before = before.as_ref();
        let tied = match law.has_room_for(draft) {
            Err(Refusal::Tie { other, .. }) => Some(other),
            // That there were as many policies as may be keeps nobody from trying one more.
            _ => None,
        };
        let mut changed = Law::clone(&law);
        // A rule may ask for the version: it is the one that the draft stands for.
        let version = law.policies.get(&draft.name).map_or(1, |replaced| replaced.version);
        let current = Current { version, revision: law.revision, body: draft.clone() };
        changed.policies.insert(draft.name.clone(), current);
        Self {
            revision: law.revision,
            then: Court::new(law, before.map(|before| &before.then)),
            under_draft: Court::new(Arc::new(changed), before.map(|before| &before.under_draft)),
            draft: draft.clone(),
            tied,
        }
    }

    /// The policy that applied to a template, and the one that would have; none where they are the
    /// same.
    pub fn changed(&self, template: &str) -> Option<(&Arc<Statute>, &Arc<Statute>)> {
        let (was, would) =
            (self.then.statute_for(template), self.under_draft.statute_for(template));
        (!std::ptr::eq(was.policy(), would.policy())).then_some((was, would))
    }

    /// A policy that claims a template just as the draft does.
    pub fn tied_over(&self, template: &str) -> Option<&str> {
        let other = self.tied.as_deref()?;
        let claims = self.draft.templates.iter().any(|pattern| glob(pattern, template));
        claims.then_some(other)
    }

    /// The template's word on heat.
    pub fn hint(&self, template: &str) -> Option<Heat> {
        self.then.law().templates.get(template).and_then(|template| template.body.heat)
    }
}
