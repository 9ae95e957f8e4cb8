//! What the compiler's BTF lacks: the text fields of our maps are `[i8; N]`, and only the encoding `CHAR` makes bpftool
//! print an array of bytes as a string. Rust never writes it, so the type `i8` is given it here.
//!
//! Source: the kernel's Documentation/bpf/btf.rst.

use anyhow::{Context as _, Result, bail, ensure};

/// The integer type that stands for a character of text.
const TEXT_TYPE: &[u8] = b"i8";

const BTF_MAGIC: u32 = 0xeb9f;
const KIND_INT: u32 = 1;

/// Bits 24 to 27 of an INT's data word.
const ENCODING_MASK: u32 = 0x0f00_0000;
const ENCODING_SIGNED: u32 = 1 << 24;
const ENCODING_CHAR: u32 = 2 << 24;

/// Gives every integer type named `i8` the encoding `CHAR`, in place; says whether there was one.
///
/// # Errors
/// When the bytes are no 64-bit little-endian ELF object with a well-formed `.BTF` section.
pub(crate) fn mark_text(object: &mut [u8]) -> Result<bool> {
    let section = section(object, b".BTF").context("no well-formed ELF section .BTF")?;
    mark_text_in_btf(&mut object[section])
}

fn mark_text_in_btf(btf: &mut [u8]) -> Result<bool> {
    let words = text_type_words(btf)?;
    for at in &words {
        let word = u32_at(btf, *at).context("a BTF type is cut short")?;
        ensure!(
            matches!(word & ENCODING_MASK, ENCODING_SIGNED | ENCODING_CHAR),
            "the type i8 has the unexpected encoding {:#x}",
            word >> 24
        );
        let marked = word & !ENCODING_MASK | ENCODING_CHAR;
        btf[*at..*at + 4].copy_from_slice(&marked.to_le_bytes());
    }
    Ok(!words.is_empty())
}

/// The byte range of the section of that name.
fn section(elf: &[u8], name: &[u8]) -> Option<std::ops::Range<usize>> {
    // Magic, 64 bits, little endian.
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let headers = usize::try_from(u64_at(elf, 0x28)?).ok()?;
    let header_len = usize::from(u16_at(elf, 0x3a)?);
    let count = usize::from(u16_at(elf, 0x3c)?);
    let header = |index: usize| headers.checked_add(index.checked_mul(header_len)?);
    let range = |header: usize| {
        let start = usize::try_from(u64_at(elf, header + 0x18)?).ok()?;
        let len = usize::try_from(u64_at(elf, header + 0x20)?).ok()?;
        let end = start.checked_add(len)?;
        (end <= elf.len()).then_some(start..end)
    };
    let names = &elf[range(header(usize::from(u16_at(elf, 0x3e)?))?)?];
    (0..count).find_map(|index| {
        let header = header(index)?;
        (text_at(names, u32_at(elf, header)?)? == name).then(|| range(header))?
    })
}

/// The offsets, within the section, of the data words of all integer types named `i8`.
fn text_type_words(btf: &[u8]) -> Result<Vec<usize>> {
    let field = |offset| u32_at(btf, offset).context("the BTF header is cut short");
    ensure!(
        field(0)? & 0xffff == BTF_MAGIC,
        "the BTF header has another magic number"
    );
    let header_len = field(4)?;
    let start = (header_len + field(8)?) as usize;
    let end = start + field(12)? as usize;
    let strings_start = (header_len + field(16)?) as usize;
    let strings = btf
        .get(strings_start..)
        .context("the BTF strings begin beyond the section")?;

    let mut words = Vec::new();
    let mut at = start;
    while at < end {
        let type_field = |offset| u32_at(btf, at + offset).context("a BTF type is cut short");
        let (name, info) = (type_field(0)?, type_field(4)?);
        let kind = info >> 24 & 0x1f;
        if kind == KIND_INT && text_at(strings, name) == Some(TEXT_TYPE) {
            words.push(at + 12);
        }
        at += 12 + tail_len(kind, info & 0xffff)?;
    }
    Ok(words)
}

/// How many bytes follow the twelve that every BTF type begins with.
fn tail_len(kind: u32, members: u32) -> Result<usize> {
    let members = members as usize;
    Ok(match kind {
        // INT, VAR and DECL_TAG: one word.
        KIND_INT | 14 | 17 => 4,
        // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT and TYPE_TAG: nothing.
        2 | 7..=12 | 16 | 18 => 0,
        // ARRAY: element, index and length.
        3 => 12,
        // STRUCT, UNION, DATASEC and ENUM64: three words a member.
        4 | 5 | 15 | 19 => members * 12,
        // ENUM and FUNC_PROTO: two words a member.
        6 | 13 => members * 8,
        _ => bail!("BTF kind {kind} is unknown: teach xtask/src/btf.rs its length"),
    })
}

fn text_at(strings: &[u8], offset: u32) -> Option<&[u8]> {
    strings
        .get(offset as usize..)?
        .split(|byte| *byte == 0)
        .next()
}

fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes_at(bytes, offset).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes_at(bytes, offset).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes_at(bytes, offset).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::mark_text_in_btf;

    const SIGNED_BYTE: u32 = 0x0100_0008;
    const CHAR_BYTE: u32 = 0x0200_0008;

    /// `struct {}` with one member, then the integers `i8` and `u8`; the words of the type section can be edited first.
    fn btf(edit: impl Fn(&mut Vec<u32>)) -> Vec<u8> {
        #[rustfmt::skip]
        let mut types = vec![
            0, 4 << 24 | 1, 1, 0, 2, 0, // STRUCT with one member of type 2
            1, 1 << 24, 1, SIGNED_BYTE, // INT "i8"
            4, 1 << 24, 1, 0x0000_0008, // INT "u8"
        ];
        edit(&mut types);
        let strings = b"\0i8\0u8\0";
        let types_len = u32::try_from(types.len() * 4).unwrap();
        let header = [
            0x0001_eb9f,
            24,
            0,
            types_len,
            types_len,
            u32::try_from(strings.len()).unwrap(),
        ];
        let mut bytes: Vec<u8> = header
            .iter()
            .chain(&types)
            .flat_map(|word| word.to_le_bytes())
            .collect();
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn only_the_encoding_of_i8_changes() {
        let mut bytes = btf(|_| ());
        assert!(mark_text_in_btf(&mut bytes).unwrap());
        assert_eq!(bytes, btf(|types| types[9] = CHAR_BYTE));
        assert!(
            mark_text_in_btf(&mut bytes).unwrap(),
            "a second run changes nothing"
        );
        assert_eq!(bytes, btf(|types| types[9] = CHAR_BYTE));
    }

    #[test]
    fn an_object_without_text_is_left_alone() {
        let mut bytes = btf(|types| types[6] = 4);
        assert!(!mark_text_in_btf(&mut bytes).unwrap());
        assert_eq!(bytes, btf(|types| types[6] = 4));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let unknown_kind = btf(|types| types[1] = 31 << 24);
        let whole = btf(|_| ());
        for mut bytes in [unknown_kind, whole[..40].to_vec(), vec![0; 64], Vec::new()] {
            assert!(mark_text_in_btf(&mut bytes).is_err());
        }
    }
}
