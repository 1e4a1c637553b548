//! Values packed into one boxed slice, for memory and digests. Not the journal's format.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Packs a value. Cannot fail for the types of this crate: none has a shape bincode refuses.
pub(crate) fn pack<T: Serialize>(value: &T) -> Box<[u8]> {
    bincode::serde::encode_to_vec(value, bincode::config::standard())
        .expect("every type of the domain has a bincode shape")
        .into_boxed_slice()
}

/// Unpacks what [`pack`] made in this same process.
pub(crate) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> T {
    bincode::serde::decode_from_slice(bytes, bincode::config::standard())
        .expect("packed by this process")
        .0
}
