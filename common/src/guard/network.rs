//! A network as people write it: `10.0.0.0/8`, `fd00::/8`, or one address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// All addresses of one family that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    /// The first address; bits behind the prefix are 0.
    first: IpAddr,
    /// Bits of the prefix: 0 to 32, or to 128.
    length: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Another form.
    #[error("`{0}` is not a network such as 10.0.0.0/8, fd00::/8 or 192.0.2.7")]
    Form(String),
    /// More bits than the address has, or what is no number.
    #[error("the prefix length of `{text}` must be a number from 0 to {max}")]
    Length {
        /// What was written.
        text: String,
        /// Of that family.
        max: u8,
    },
    /// An address inside the network instead of its first one.
    #[error("`{text}` has bits set behind its prefix, write {network}")]
    HostBits {
        /// What was written.
        text: String,
        /// What was probably meant.
        network: Network,
    },
    /// Such addresses are judged as the IPv4 addresses that they are.
    #[error("`{0}` is IPv4 in the form of IPv6, write the IPv4 network")]
    Mapped(String),
}

/// ::ffff:0:0/96.
const MAPPED: Network = Network::v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96);

impl Network {
    /// An IPv4 network. The caller sees to it that no bit behind the prefix is set.
    pub(super) const fn v4([a, b, c, d]: [u8; 4], length: u8) -> Self {
        Self { first: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), length }
    }

    /// An IPv6 network. The caller sees to it that no bit behind the prefix is set.
    pub(super) const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], length: u8) -> Self {
        Self { first: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), length }
    }

    /// The network of this address alone.
    pub const fn of(address: IpAddr) -> Self {
        Self { first: address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Bits of the prefix.
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// Whether the address is one of its own. An IPv6 network holds no IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && masked(address, self.length) == self.first
    }
}

/// The address with all bits behind the prefix set to 0.
fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(four) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            Ipv4Addr::from_bits(four.to_bits() & mask).into()
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            Ipv6Addr::from_bits(six.to_bits() & mask).into()
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let form = || NetworkError::Form(text.to_owned());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let max = Self::of(address).length;
        let length = match length {
            None => max,
            Some(digits) => {
                let plain = matches!(digits.len(), 1..=3)
                    && digits.bytes().all(|b| b.is_ascii_digit())
                    && (digits == "0" || !digits.starts_with('0'));
                let wrong = || NetworkError::Length { text: text.to_owned(), max };
                let length = plain.then(|| digits.parse::<u8>().ok()).flatten();
                length.filter(|length| *length <= max).ok_or_else(wrong)?
            }
        };
        let network = Self { first: masked(address, length), length };
        if network.first != address {
            return Err(NetworkError::HostBits { text: text.to_owned(), network });
        }
        if length >= MAPPED.length && MAPPED.contains(address) {
            return Err(NetworkError::Mapped(text.to_owned()));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}
