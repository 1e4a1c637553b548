//! Documents from files, for `apply`.

use std::io::Read;
use std::path::Path;

use api::document;
use api::limits::DOCUMENT_BODY_MAX;
use serde::de::DeserializeOwned;

use crate::exit::Failure;

/// Reads a document; `-` is stdin.
///
/// # Errors
/// The file can't be read, or is not what it should be; the message names it.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let name = if path == Path::new("-") { "stdin".into() } else { path.display().to_string() };
    let refused = |what: String| Failure::Usage(format!("{name}: {what}"));
    let mut bytes = Vec::new();
    let most = DOCUMENT_BODY_MAX as u64 + 1;
    let outcome = if path == Path::new("-") {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    outcome.map_err(|e| refused(format!("can't be read: {e}")))?;
    api::limits::check_document_body(bytes.len()).map_err(|e| refused(e.to_string()))?;
    document::read(&bytes).map_err(|e| refused(e.to_string()))
}

/// The name a document gives itself.
///
/// # Errors
/// It gives none.
pub fn name_of(own: Option<&str>, path: &Path) -> Result<String, Failure> {
    own.map(str::to_owned)
        .ok_or_else(|| Failure::Usage(format!("{}: name is missing: give it", path.display())))
}
