//! The only HTTP client: OCI distribution in both directions, and plain fetches.
