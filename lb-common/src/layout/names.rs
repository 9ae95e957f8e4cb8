//! What are Services called? For people; no program reads it.

use core::fmt::{self, Write};

use bytemuck::Zeroable;

use crate::limits::TEXT;

/// Map `services`, by id: names, for people; no program reads it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct ServiceName {
    /// Namespace, UTF-8, zero-terminated.
    pub namespace: [i8; TEXT],
    /// Name of the Service.
    pub name: [i8; TEXT],
    /// Name of the port; empty = unnamed.
    pub port_name: [i8; TEXT],
    /// The Service's port, host order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
}

impl Default for ServiceName {
    fn default() -> Self {
        Self::zeroed()
    }
}

/// `namespace/name:port-name`, the last part only where the port has a name.
impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(f, "", &self.namespace)?;
        write_text(f, "/", &self.name)?;
        if self.port_name[0] == 0 {
            Ok(())
        } else {
            write_text(f, ":", &self.port_name)
        }
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} {}/{}", self.port, self.protocol)
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, before: &str, text: &[i8; TEXT]) -> fmt::Result {
    f.write_str(before)?;
    text_bytes(text).try_for_each(|byte| f.write_char(char::from(byte)))
}

/// Zero-terminated text as the maps hold it; what does not fit is cut at the last whole character.
#[must_use]
pub fn text(from: &str) -> [i8; TEXT] {
    let mut end = from.len().min(TEXT - 1);
    while !from.is_char_boundary(end) {
        end -= 1;
    }
    let mut to = [0; TEXT];
    for (to, from) in to.iter_mut().zip(&from.as_bytes()[..end]) {
        *to = from.cast_signed();
    }
    to
}

/// The text up to its first zero, as bytes.
pub fn text_bytes(from: &[i8; TEXT]) -> impl Iterator<Item = u8> {
    from.iter()
        .take_while(|&&c| c != 0)
        .map(|&c| c.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_a_character_and_terminated() {
        let long = "ä".repeat(40);
        let kept: std::vec::Vec<u8> = text_bytes(&text(&long)).collect();
        assert_eq!(kept, "ä".repeat(31).as_bytes());
    }
}
