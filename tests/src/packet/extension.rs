//! What may stand between an IPv6 header and what follows it?

/// An IPv6 extension header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Its protocol number.
    pub kind: u8,
    /// What follows its first two bytes (next header and length); with them a multiple of 8.
    pub data: Vec<u8>,
}

impl Extension {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing.
    pub const ROUTING: u8 = 43;
    /// Authentication.
    pub const AUTHENTICATION: u8 = 51;
    /// Destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;

    /// Options (hop by hop, or for the destination) that say nothing, with so many bytes in all.
    ///
    /// # Panics
    /// If `bytes` is no multiple of 8, or too many for one header.
    #[must_use]
    pub fn padding(kind: u8, bytes: usize) -> Self {
        assert!(bytes >= 8 && bytes.is_multiple_of(8), "{bytes} bytes");
        // Pad1 is one zero byte (RFC 8200, section 4.2).
        let data = vec![0; bytes - 2];
        Self { kind, data }
    }

    /// A routing header of an unknown type with so many segments left.
    #[must_use]
    pub fn routing(segments_left: u8) -> Self {
        Self {
            kind: Self::ROUTING,
            data: vec![253, segments_left, 0, 0, 0, 0],
        }
    }
}
