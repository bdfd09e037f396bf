//! What a caller can do about an error.

/// What a caller can do about an [`Error`](crate::Error).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The name does not exist there.
    NotFound,
    /// Credentials are missing, wrong or not sufficient.
    Unauthorized,
    /// Too many requests; later may work.
    RateLimited,
    /// The index has nothing for the platform asked for.
    NoPlatform,
    /// The network or the name service failed.
    Network,
    /// The server's certificate or the TLS handshake was refused.
    Tls,
    /// The server failed or does not follow the protocol.
    Server,
    /// Bytes do not match their digest.
    Integrity,
    /// What the registry holds is not an image that kiln can use.
    Unusable,
    /// The user's configuration forbids it or is wrong.
    Configuration,
    /// Reading or writing a local file failed.
    Local,
    /// The client was cancelled.
    Cancelled,
}
