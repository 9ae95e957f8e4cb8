//! What is remembered of a datagram in fragments? What its first one alone says. Programs write
//! this map.

/// Map `fragments4|6`: a datagram, as its fragments arrive.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct FragmentKey<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// The datagram's identification, host order; 16 bits of it in IPv4.
    pub id: u32,
    /// IP protocol number in IPv4 (RFC 791); zero in IPv6, whose identification is for all of them
    /// (RFC 8200, section 4.5).
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// Map `fragments4|6`: what the first fragment said.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct FragmentInfo {
    /// Source port, host order.
    pub source_port: u16,
    /// Destination port, host order.
    pub destination_port: u16,
    /// Jiffies, low 32 bits, when the first fragment came.
    pub since: u32,
    /// IP protocol number of the transport header.
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 3],
}
