//! Everything addressed by a digest, and the rules for sharing and collecting it.
