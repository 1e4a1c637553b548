//! The fleet, the line, the law, and how Olympus is.

use api::fleet::{DrainRequest, Overlay};
use api::heat::{HeatDocument, HeatStatus, HeatVersion};
use api::law::{PolicyDocument, PolicyVersion, TemplateDocument};
use api::problem::Problem;
use api::quarantine::{Quarantined, Word};
use api::query::DeadQuery;
use api::run::{List, Run};
use api::what_if::{WhatIfReport, WhatIfRequest};
use api::{DeadLetter, Duration, Given, Node, QueueStatus, Readyz};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::runs::part;
use crate::transport::{Client, body};

impl Client {
    /// Every page of a list.
    pub(crate) async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Error> {
        self.all_of(path, "").await
    }

    /// Every page of a list with filters.
    async fn all_of<T: DeserializeOwned>(
        &self,
        path: &str,
        filters: &str,
    ) -> Result<Vec<T>, Error> {
        let limit = api::limits::PAGE_MAX;
        let mut all = Vec::new();
        let mut next = format!("{path}?limit={limit}{filters}");
        loop {
            let page: List<T> = self.read(&next).await?;
            all.extend(page.items);
            match page.next_cursor {
                Some(cursor) => {
                    next = format!("{path}?limit={limit}{filters}&cursor={}", part(&cursor));
                }
                None => return Ok(all),
            }
        }
    }

    /// All nodes.
    ///
    /// # Errors
    /// Olympus can't be reached.
    pub async fn nodes(&self) -> Result<Vec<Node>, Error> {
        self.all("/v1/nodes").await
    }

    /// A node.
    ///
    /// # Errors
    /// There is none of that name, or Olympus can't be reached.
    pub async fn node(&self, id: &str) -> Result<Node, Error> {
        self.read(&format!("/v1/nodes/{}", part(id))).await
    }

    /// Lets no more work go to a node; what runs there is moved after `deadline`, if there is one.
    ///
    /// # Errors
    /// There is no such node, or Olympus can't be reached. Asked again it only moves the deadline.
    pub async fn drain(&self, id: &str, deadline: Option<Duration>) -> Result<Node, Error> {
        let asked = DrainRequest { deadline: deadline.map(Given::Known) };
        let path = format!("/v1/nodes/{}/drain", part(id));
        self.persist(|| self.request(Method::POST, &path).json(&asked), body).await
    }

    /// Lets work go to a node again.
    ///
    /// # Errors
    /// There is no such node, or Olympus can't be reached.
    pub async fn undrain(&self, id: &str) -> Result<Node, Error> {
        let path = format!("/v1/nodes/{}/undrain", part(id));
        self.persist(|| self.request(Method::POST, &path), body).await
    }

    /// Sets all labels that operators lay over those of a node's agent.
    ///
    /// # Errors
    /// There is no such node, a label is none, the node's pool would change under its runs, or
    /// Olympus can't be reached.
    pub async fn label(&self, id: &str, labels: &Overlay) -> Result<Node, Error> {
        let path = format!("/v1/nodes/{}/labels", part(id));
        self.persist(|| self.request(Method::PUT, &path).json(labels), body).await
    }

    /// The waiting line.
    ///
    /// # Errors
    /// Olympus can't be reached.
    pub async fn queue(&self) -> Result<QueueStatus, Error> {
        self.read("/v1/queue").await
    }

    /// Stops giving runs to nodes; says how the line is then. Asking again changes nothing.
    ///
    /// # Errors
    /// Olympus can't be reached.
    pub async fn pause_queue(&self) -> Result<QueueStatus, Error> {
        self.persist(|| self.request(Method::POST, "/v1/queue/pause"), body).await
    }

    /// Gives runs to nodes again; says how the line is then. Asking again changes nothing.
    ///
    /// # Errors
    /// Olympus can't be reached.
    pub async fn resume_queue(&self) -> Result<QueueStatus, Error> {
        self.persist(|| self.request(Method::POST, "/v1/queue/resume"), body).await
    }

    /// At most `most` runs that are out of attempts, newest first, from as many pages as it takes.
    ///
    /// # Errors
    /// Olympus can't be reached.
    pub async fn dead_letters(
        &self,
        query: &DeadQuery,
        most: usize,
    ) -> Result<Vec<DeadLetter>, Error> {
        let mut filters = format!("&redriven={}", query.redriven);
        for (name, value) in [("template", &query.template), ("tenant", &query.tenant)] {
            if let Some(value) = value {
                filters.push_str(&format!("&{name}={}", part(value)));
            }
        }
        let (mut all, mut cursor) = (Vec::new(), String::new());
        while all.len() < most {
            let limit = (most - all.len()).min(api::limits::PAGE_MAX as usize);
            let path = format!("/v1/queue/dead?limit={limit}{filters}{cursor}");
            let page: List<DeadLetter> = self.read(&path).await?;
            all.extend(page.items);
            match page.next_cursor {
                Some(next) => cursor = format!("&cursor={}", part(&next)),
                None => break,
            }
        }
        Ok(all)
    }

    /// Has a dead letter judged again and made a new run, under a fresh idempotency key: that run
    /// is made once or not at all.
    ///
    /// # Errors
    /// Refused: it is no dead letter, it was redriven, or today's law rejects it.
    pub async fn redrive(&self, id: &str) -> Result<Run, Error> {
        let path = format!("/v1/queue/dead/{}/redrive", part(id));
        let key = uuid::Uuid::new_v4().to_string();
        let send = || {
            self.request(Method::POST, &path).header(api::headers::IDEMPOTENCY_KEY, key.as_str())
        };
        self.persist(send, body).await
    }

    /// All templates.
    ///
    /// # Errors
    /// Olympus can't be reached.
    pub async fn templates(&self) -> Result<Vec<TemplateDocument>, Error> {
        self.all("/v1/templates").await
    }

    /// A template.
    ///
    /// # Errors
    /// There is none of that name, or Olympus can't be reached.
    pub async fn template(&self, name: &str) -> Result<TemplateDocument, Error> {
        self.read(&format!("/v1/templates/{}", part(name))).await
    }

    /// Creates or replaces a template.
    ///
    /// # Errors
    /// It is not valid. Sent once: an unknown outcome is the caller's to look at.
    pub async fn put_template(
        &self,
        name: &str,
        document: &TemplateDocument,
    ) -> Result<TemplateDocument, Error> {
        let path = format!("/v1/templates/{}", part(name));
        self.once(self.request(Method::PUT, &path).json(document)).await
    }

    /// Deletes a template.
    ///
    /// # Errors
    /// There is none of that name, or it is built in.
    pub async fn delete_template(&self, name: &str) -> Result<(), Error> {
        let path = format!("/v1/templates/{}", part(name));
        self.send(self.request(Method::DELETE, &path)).await.map(drop)
    }

    /// All policies.
    ///
    /// # Errors
    /// Olympus can't be reached.
    pub async fn policies(&self) -> Result<Vec<PolicyDocument>, Error> {
        self.all("/v1/policies").await
    }

    /// A policy.
    ///
    /// # Errors
    /// There is none of that name, or Olympus can't be reached.
    pub async fn policy(&self, name: &str) -> Result<PolicyDocument, Error> {
        self.read(&format!("/v1/policies/{}", part(name))).await
    }

    /// Creates or replaces a policy; `replaces` is the version that must be the current one,
    /// `what_if` the digest of the report on it that was made first.
    ///
    /// # Errors
    /// It is not valid, 409: no such report was made there, or 412: another version is current. Sent
    /// once: an unknown outcome is the
    /// caller's to look at.
    pub async fn put_policy(
        &self,
        name: &str,
        document: &PolicyDocument,
        replaces: Option<u64>,
        what_if: Option<&str>,
    ) -> Result<PolicyDocument, Error> {
        let mut path = format!("/v1/policies/{}", part(name));
        if let Some(digest) = what_if {
            path.push_str(&format!("?what_if={}", part(digest)));
        }
        let mut put = self.request(Method::PUT, &path).json(document);
        if let Some(version) = replaces {
            put = put.header("if-match", format!("\"{version}\""));
        }
        self.once(put).await
    }

    /// Judges the recorded submissions under a draft. It may take minutes.
    ///
    /// # Errors
    /// It is not valid, or Olympus can't be reached.
    pub async fn what_if(&self, name: &str, ask: &WhatIfRequest) -> Result<WhatIfReport, Error> {
        let path = format!("/v1/policies/{}/what-if", part(name));
        let send = || self.request(Method::POST, &path).json(ask);
        self.persist(send, body).await.map_err(Error::of_read)
    }

    /// Deletes a policy.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn delete_policy(&self, name: &str) -> Result<(), Error> {
        let path = format!("/v1/policies/{}", part(name));
        self.send(self.request(Method::DELETE, &path)).await.map(drop)
    }

    /// What is in quarantine, newest first; only those that stand in one way, or of one tenant.
    ///
    /// # Errors
    /// Olympus can't be reached.
    pub async fn quarantine(
        &self,
        stand: Option<&str>,
        tenant: Option<&str>,
    ) -> Result<Vec<Quarantined>, Error> {
        let filters = [("status", stand), ("tenant", tenant)];
        let filters = filters.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
        let filters: String =
            filters.map(|(name, value)| format!("&{name}={}", part(value))).collect();
        self.all_of("/v1/quarantine", &filters).await
    }

    /// Lets a run that waits in quarantine go.
    ///
    /// # Errors
    /// 403: today's policy rejects it. 409: it does not wait in quarantine. Sent once: an unknown
    /// outcome is the caller's to look at.
    pub async fn release(&self, id: &str, reason: Option<&str>) -> Result<Run, Error> {
        self.word(id, "release", reason).await
    }

    /// Rejects a run that waits in quarantine.
    ///
    /// # Errors
    /// As [`Client::release`], but that no policy is asked.
    pub async fn reject(&self, id: &str, reason: Option<&str>) -> Result<Run, Error> {
        self.word(id, "reject", reason).await
    }

    async fn word(&self, id: &str, verb: &str, reason: Option<&str>) -> Result<Run, Error> {
        let path = format!("/v1/runs/{}/{verb}", part(id));
        let word = Word { reason: reason.map(Into::into) };
        self.once(self.request(Method::POST, &path).json(&word)).await
    }

    /// The thresholds of heat, and what is learned.
    ///
    /// # Errors
    /// Olympus can't be reached.
    pub async fn heat(&self) -> Result<HeatStatus, Error> {
        self.read("/v1/heat").await
    }

    /// Every version of the thresholds, oldest first, as the history shows them.
    ///
    /// # Errors
    /// Olympus can't be reached.
    pub async fn heat_versions(&self) -> Result<List<HeatVersion>, Error> {
        self.read("/v1/heat/versions").await
    }

    /// Sets the thresholds; `replaces` is the version that must be the current one.
    ///
    /// # Errors
    /// They are not valid, or 412: another version is current. Sent once: an unknown outcome is the
    /// caller's to look at.
    pub async fn put_heat(
        &self,
        document: &HeatDocument,
        replaces: Option<u64>,
    ) -> Result<HeatDocument, Error> {
        let mut put = self.request(Method::PUT, "/v1/heat").json(document);
        if let Some(version) = replaces {
            put = put.header("if-match", format!("\"{version}\""));
        }
        self.once(put).await
    }

    /// Every version of a policy, oldest first.
    ///
    /// # Errors
    /// There never was one of that name.
    pub async fn policy_versions(&self, name: &str) -> Result<Vec<PolicyVersion>, Error> {
        let list: List<_> = self.read(&format!("/v1/policies/{}/versions", part(name))).await?;
        Ok(list.items)
    }

    /// Puts a version of a policy into force again; `replaces` is the version that must be the
    /// current one.
    ///
    /// # Errors
    /// There is no such version, or 412: another one is current. Sent once: an unknown outcome is
    /// the caller's to look at.
    pub async fn restore_policy(
        &self,
        name: &str,
        version: u64,
        replaces: Option<u64>,
    ) -> Result<PolicyDocument, Error> {
        let path = format!("/v1/policies/{}/versions/{version}/restore", part(name));
        let mut post = self.request(Method::POST, &path);
        if let Some(version) = replaces {
            post = post.header("if-match", format!("\"{version}\""));
        }
        self.once(post).await
    }

    /// How Olympus is, and whether it is ready. Asked once.
    ///
    /// # Errors
    /// Olympus can't be reached.
    pub async fn readyz(&self) -> Result<(bool, Readyz), Error> {
        let response = self.reach(self.get("/readyz")).await?;
        match response.status() {
            StatusCode::OK => Ok((true, body(response).await?)),
            StatusCode::SERVICE_UNAVAILABLE => Ok((false, body(response).await?)),
            status => {
                let detail = format!("/readyz answered {status}: is this address Olympus'?");
                let problem = Problem::new(status.as_u16(), "internal", detail);
                Err(Error::from_problem(problem, None))
            }
        }
    }
}
