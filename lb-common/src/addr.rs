//! What is an address, in each family?
//!
//! Addresses are octets in network order, aligned so that the kernel programs load whole words;
//! ports are numbers in host order everywhere but in a packet.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 address, octets in network order.
#[derive(Clone, Copy, Default, Eq, PartialOrd, Ord)]
#[repr(C, align(4))]
pub struct Ip4 {
    /// As written: 10.96.0.1 is `[10, 96, 0, 1]`.
    pub octets: [u8; 4],
}

/// An IPv6 address, octets in network order.
#[derive(Clone, Copy, Default, Eq, PartialOrd, Ord)]
#[repr(C, align(4))]
pub struct Ip6 {
    /// As written, two octets for each group.
    pub octets: [u8; 16],
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Ip4 {}
    impl Sealed for super::Ip6 {}
}

/// An address family: what the packet path is generic over. There are these two.
pub trait Family:
    sealed::Sealed + bytemuck::Pod + Eq + Ord + Default + fmt::Display + fmt::Debug
{
    /// Ethernet type of the family's packets, in host order.
    const ETHER_TYPE: u16;
    /// `AF_INET` or `AF_INET6`.
    const SOCKET_FAMILY: u8;
    /// Bits in an address.
    const BITS: u32;
    /// 32-bit words in an address.
    const WORDS: usize;
    /// Protocol number of the family's ICMP.
    const ICMP: u8;

    /// The `i`th 32-bit word exactly as it lies in memory and in packets.
    fn word(&self, i: usize) -> u32;

    /// The address as the standard library names it.
    fn to_ip(self) -> IpAddr;

    /// The address, if it is of this family.
    fn from_ip(ip: IpAddr) -> Option<Self>;

    /// Whether both addresses are the same in all bits that `mask` has set.
    #[inline(always)]
    fn matches(&self, network: &Self, mask: &Self) -> bool {
        let mut difference = 0;
        let mut i = 0;
        while i < Self::WORDS {
            difference |= (self.word(i) ^ network.word(i)) & mask.word(i);
            i += 1;
        }
        difference == 0
    }
}

impl Ip4 {
    /// The address written `a.b.c.d`.
    #[must_use]
    pub const fn new(a: u8, b: u8, c: u8, d: u8) -> Self {
        Self {
            octets: [a, b, c, d],
        }
    }
}

impl Family for Ip4 {
    const ETHER_TYPE: u16 = 0x0800;
    const SOCKET_FAMILY: u8 = 2;
    const BITS: u32 = 32;
    const WORDS: usize = 1;
    const ICMP: u8 = 1;

    #[inline(always)]
    fn word(&self, _: usize) -> u32 {
        *bytemuck::must_cast_ref(self)
    }

    fn to_ip(self) -> IpAddr {
        Ipv4Addr::from(self.octets).into()
    }

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(ip) => Some(Self {
                octets: ip.octets(),
            }),
            IpAddr::V6(_) => None,
        }
    }
}

impl Family for Ip6 {
    const ETHER_TYPE: u16 = 0x86dd;
    const SOCKET_FAMILY: u8 = 10;
    const BITS: u32 = 128;
    const WORDS: usize = 4;
    const ICMP: u8 = 58;

    #[inline(always)]
    fn word(&self, i: usize) -> u32 {
        bytemuck::must_cast_ref::<Self, [u32; 4]>(self)[i & 3]
    }

    fn to_ip(self) -> IpAddr {
        Ipv6Addr::from(self.octets).into()
    }

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V6(ip) => Some(Self {
                octets: ip.octets(),
            }),
            IpAddr::V4(_) => None,
        }
    }
}

macro_rules! show {
    ($($address:ident)*) => {$(
        /// By words: on the BPF target a comparison of octets would load them one by one.
        impl PartialEq for $address {
            #[inline(always)]
            fn eq(&self, other: &Self) -> bool {
                let mut i = 0;
                while i < Self::WORDS {
                    if self.word(i) != other.word(i) {
                        return false;
                    }
                    i += 1;
                }
                true
            }
        }

        impl fmt::Display for $address {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.to_ip().fmt(f)
            }
        }

        impl fmt::Debug for $address {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.to_ip().fmt(f)
            }
        }
    )*};
}
show!(Ip4 Ip6);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_matches_by_its_mask_only() {
        let network = Ip4::new(10, 96, 0, 0);
        let mask = Ip4::new(255, 255, 0, 0);
        assert!(Ip4::new(10, 96, 151, 12).matches(&network, &mask));
        assert!(!Ip4::new(10, 97, 151, 12).matches(&network, &mask));
    }

    #[test]
    fn addresses_survive_the_standard_librarys_types() {
        let four = Ip4::new(10, 43, 165, 39);
        assert_eq!(Ip4::from_ip(four.to_ip()), Some(four));
        assert_eq!(Ip6::from_ip(four.to_ip()), None);
        assert_eq!(std::format!("{four}"), "10.43.165.39");
    }
}
