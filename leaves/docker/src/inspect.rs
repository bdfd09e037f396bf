//! Images and containers as `docker inspect` describes them.

pub mod zeros; // what is absent
