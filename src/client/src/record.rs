//! What the journal says of itself.

use api::record::{Level, RaiseRequest, Signer};
use reqwest::Method;

use crate::error::Error;
use crate::transport::Client;

impl Client {
    /// Every key that checkpoints were signed with, oldest first.
    ///
    /// # Errors
    /// Olympus can't be reached.
    pub async fn keys(&self) -> Result<Vec<Signer>, Error> {
        self.all("/v1/keys").await
    }

    /// What programs the journal is written for.
    ///
    /// # Errors
    /// Olympus can't be reached.
    pub async fn level(&self) -> Result<Level, Error> {
        self.read("/v1/level").await
    }

    /// Raises it.
    ///
    /// # Errors
    /// There is no such level, it is in force, or an instance lives that does not read it and it is
    /// not to be forced. Sent once: an unknown outcome is the caller's to
    /// look at.
    pub async fn raise_level(&self, level: u32, force: bool) -> Result<Level, Error> {
        let asked = RaiseRequest { level, force };
        self.once(self.request(Method::POST, "/v1/level").json(&asked)).await
    }
}
