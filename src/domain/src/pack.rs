//! Values packed into one boxed slice, for memory, digests and snapshots. Not the journal's format.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A run of ordinary size is packed on the stack, and then copied into a slice that fits.
const ON_THE_STACK: usize = 1_024;

/// Packs a value. Cannot fail for the types of this crate: none has a shape bincode refuses.
pub(crate) fn pack<T: Serialize>(value: &T) -> Box<[u8]> {
    let mut room = [0; ON_THE_STACK];
    if let Ok(len) =
        bincode::serde::encode_into_slice(value, &mut room, bincode::config::standard())
    {
        return room[..len].into();
    }
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

/// Unpacks the first value of bytes that may be anything; says what is behind it.
pub(crate) fn unpack_first<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<(T, &'a [u8])> {
    let config = bincode::config::standard();
    let (value, read) = bincode::serde::borrow_decode_from_slice(bytes, config).ok()?;
    Some((value, bytes.get(read..)?))
}

/// Unpacks bytes that may be anything, all of them.
pub(crate) fn try_unpack<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    unpack_first(bytes).filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
}
