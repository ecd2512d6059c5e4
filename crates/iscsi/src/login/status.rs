//! Login status codes (RFC 7143 section 11.13.5).

/// Status class and detail of a login response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// 0 success, 1 redirection, 2 initiator error, 3 target error.
    pub class: u8,
    /// Detail within the class.
    pub detail: u8,
}

impl Status {
    const fn new(class: u8, detail: u8) -> Self {
        Self { class, detail }
    }

    /// Login goes on.
    pub const SUCCESS: Self = Self::new(0, 0);
    /// The request breaks the protocol.
    pub const INITIATOR_ERROR: Self = Self::new(2, 0x00);
    /// The initiator could not be authenticated.
    pub const AUTHENTICATION_FAILURE: Self = Self::new(2, 0x01);
    /// There is no such target, or none that this initiator may know of.
    pub const NOT_FOUND: Self = Self::new(2, 0x03);
    /// No version in common.
    pub const UNSUPPORTED_VERSION: Self = Self::new(2, 0x05);
    /// The session takes no further connection.
    pub const TOO_MANY_CONNECTIONS: Self = Self::new(2, 0x06);
    /// A required key is missing.
    pub const MISSING_PARAMETER: Self = Self::new(2, 0x07);
    /// The session type is not one we know.
    pub const SESSION_TYPE: Self = Self::new(2, 0x09);
    /// The session to be joined does not exist.
    pub const NO_SUCH_SESSION: Self = Self::new(2, 0x0a);
    /// Something else than a login request came during login.
    pub const INVALID_DURING_LOGIN: Self = Self::new(2, 0x0b);
    /// The target has a fault of its own.
    pub const TARGET_ERROR: Self = Self::new(3, 0x00);
    /// The target is going away.
    pub const SERVICE_UNAVAILABLE: Self = Self::new(3, 0x01);
    /// No room for another session.
    pub const OUT_OF_RESOURCES: Self = Self::new(3, 0x02);
}
