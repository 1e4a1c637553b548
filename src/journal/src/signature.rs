//! Signatures: what an instance vouches for, to the byte.
//!
//! Owns:   an instance's key ([`InstanceKey`]), the message that a checkpoint signs, and whether a
//!         signature is one (Ed25519, RFC 8032; keys of small order are no keys).
//! Never:  reads or writes a file; says whose a key is.
//! Proof:  the tests below; `docs/journal.md` 10 has the message byte by byte.

use std::fmt;

use domain::event::CheckpointSigned;
use domain::ids::Hex;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::entry::Identity;
use crate::ids::{ChainHash, Position};

/// What every message begins with: no other message of this program, or of another version of this
/// one, can be taken for it.
pub const CONTEXT: &[u8; 22] = b"tartarus.checkpoint.v1";
/// Bytes of a message.
pub const MESSAGE_LEN: usize = CONTEXT.len() + 16 + 4 + 8 + 32 + 32;

/// The public half of an instance's key.
pub type PublicKey = Hex<32>;

/// What an instance signs with. Its secret half is in no log and no debug output.
pub struct InstanceKey(SigningKey);

impl fmt::Debug for InstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstanceKey({})", self.public())
    }
}

impl InstanceKey {
    /// The key of a seed: 32 random bytes, which are the secret (RFC 8032, 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        Hex(self.0.verifying_key().to_bytes())
    }

    /// Vouches for a journal up to an entry.
    pub fn vouch(&self, identity: Identity, position: Position) -> Hex<64> {
        let message = Checkpoint { identity, position, key: self.public() }.message();
        Hex(self.0.sign(&message).to_bytes())
    }
}

/// What a checkpoint says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Of which journal.
    pub identity: Identity,
    /// Up to which entry, by its whole hash.
    pub position: Position,
    /// By whom.
    pub key: PublicKey,
}

/// Not a signature of this by that key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not one by key {key}")]
pub struct BadSignature {
    /// The key.
    pub key: PublicKey,
}

impl Checkpoint {
    /// What an event claims, of the journal that it was found in.
    pub fn of(identity: Identity, event: &CheckpointSigned) -> Self {
        let position = Position { seq: event.index, hash: ChainHash(event.hash.0) };
        Self { identity, position, key: event.key }
    }

    /// The signed bytes; integers have their least significant byte first, as in an entry.
    pub fn message(&self) -> [u8; MESSAGE_LEN] {
        let mut message = [0; MESSAGE_LEN];
        let mut rest = &mut message[..];
        for part in [
            &CONTEXT[..],
            self.identity.cluster.0.as_bytes(),
            &self.identity.incarnation.to_le_bytes(),
            &self.position.seq.to_le_bytes(),
            &self.position.hash.0,
            &self.key.0,
        ] {
            let (here, after) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = after;
        }
        message
    }

    /// Whether `signature` is one of this, by its key.
    ///
    /// # Errors
    /// It is not, or the key is none.
    pub fn verify(&self, signature: &Hex<64>) -> Result<(), BadSignature> {
        let bad = BadSignature { key: self.key };
        let key = VerifyingKey::from_bytes(&self.key.0).map_err(|_| bad)?;
        let signature = Signature::from_bytes(&signature.0);
        key.verify_strict(&self.message(), &signature).map_err(|_| bad)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::ClusterId;

    fn checkpoint(key: &InstanceKey) -> Checkpoint {
        let identity = Identity { cluster: ClusterId(Uuid::from_u128(7)), incarnation: 2 };
        let position = Position { seq: 0x0102, hash: ChainHash([0xab; 32]) };
        Checkpoint { identity, position, key: key.public() }
    }

    #[test]
    fn the_message_is_what_the_document_says() {
        let key = InstanceKey::from_seed(&[1; 32]);
        let message = checkpoint(&key).message();
        assert_eq!(message.len(), 114);
        assert_eq!(&message[..22], b"tartarus.checkpoint.v1");
        assert_eq!(&message[22..38], Uuid::from_u128(7).as_bytes());
        assert_eq!(&message[38..42], [2, 0, 0, 0]);
        assert_eq!(&message[42..50], [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&message[50..82], [0xab; 32]);
        assert_eq!(&message[82..], key.public().0);
    }

    #[test]
    fn a_key_and_a_signature_are_those_of_rfc_8032() {
        // RFC 8032, 7.1, test 1.
        let seed: Hex<32> =
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60".parse().unwrap();
        let key = InstanceKey::from_seed(&seed.0);
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(key.public().to_string(), public);
        assert!(!format!("{key:?}").contains("9d61"), "the secret is not shown");
    }

    #[test]
    fn any_byte_of_what_was_signed_counts() {
        let key = InstanceKey::from_seed(&[1; 32]);
        let signed = checkpoint(&key);
        let signature = key.vouch(signed.identity, signed.position);
        assert_eq!(signed.verify(&signature), Ok(()));
        let mut others = vec![signed; 5];
        others[0].identity.cluster = ClusterId(Uuid::from_u128(8));
        others[1].identity.incarnation = 3;
        others[2].position.seq += 1;
        others[3].position.hash.0[31] ^= 1;
        others[4].key = InstanceKey::from_seed(&[2; 32]).public();
        for other in others {
            assert_eq!(other.verify(&signature), Err(BadSignature { key: other.key }), "{other:?}");
        }
        let mut bent = signature;
        bent.0[40] ^= 1;
        assert!(signed.verify(&bent).is_err());
    }

    #[test]
    fn a_key_that_any_signature_fits_is_none() {
        // The neutral point: of small order (RFC 8032, 8.4; every message would have a signature).
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let checkpoint =
            Checkpoint { key: Hex(neutral), ..checkpoint(&InstanceKey::from_seed(&[1; 32])) };
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(checkpoint.verify(&Hex(signature)).is_err());
    }
}
