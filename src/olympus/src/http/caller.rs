//! Who asks, and under which request id.

use std::cell::RefCell;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use domain::event::{Origin, Principal};
use uuid::Uuid;

use super::problem::{self, Fault};

/// Who asks. The edge puts one into every request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// `X-Request-Id`.
    pub request: Uuid,
    /// By the token.
    pub by: Principal,
}

impl Caller {
    /// As events record it.
    pub fn origin(self) -> Origin {
        Origin { by: self.by, request: self.request }
    }
}

impl FromRequest for Caller {
    type Error = Fault;
    type Future = Ready<Result<Self, Fault>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = request.extensions().get::<Self>().cloned();
        ready(caller.ok_or_else(|| problem::internal("tell the caller", &"no edge")))
    }
}

/// Ids drawn from the operating system at a time: one system call for so many requests.
const DRAWN: usize = 64;

/// An id for a request that came without one.
pub fn new_request_id() -> Uuid {
    thread_local! {
        static DRAW: RefCell<(usize, [u8; 16 * DRAWN])> =
            const { RefCell::new((DRAWN, [0; 16 * DRAWN])) };
    }
    DRAW.with_borrow_mut(|(used, bytes)| {
        if *used == DRAWN {
            if getrandom::fill(bytes).is_err() {
                // An id need not be secret, and no request fails for want of a good one.
                return Uuid::now_v7();
            }
            *used = 0;
        }
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[16 * *used..16 * (*used + 1)]);
        *used += 1;
        uuid::Builder::from_random_bytes(id).into_uuid()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_requests_get_one_id() {
        let ids: std::collections::BTreeSet<Uuid> = (0..1_000).map(|_| new_request_id()).collect();
        assert_eq!(ids.len(), 1_000);
        assert!(ids.iter().all(|id| id.get_version_num() == 4));
    }
}
