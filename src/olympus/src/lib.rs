//! olympus
