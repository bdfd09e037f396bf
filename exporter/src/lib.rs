//! Turns a solution into bytes somebody else accepts.
