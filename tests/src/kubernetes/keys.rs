//! The key that an API server signs service accounts' tokens with: made for each test, gone with it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use pem::Pem;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

/// File of the private key.
pub(super) const PRIVATE: &str = "service-accounts.key";
/// File of the public key.
pub(super) const PUBLIC: &str = "service-accounts.pub";

/// What stands before a point on P-256 where a public key is written down (RFC 5480, section 2.1.1).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Makes both files in the directory.
pub(super) fn write(directory: &Path) -> Result<()> {
    let (algorithm, random) = (&ECDSA_P256_SHA256_ASN1_SIGNING, SystemRandom::new());
    let private = EcdsaKeyPair::generate_pkcs8(algorithm, &random).ok();
    let private = private.context("no key can be made")?;
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref(), &random).ok();
    let point = pair.context("the key cannot be read back")?;
    let public = [&P256[..], point.public_key().as_ref()].concat();
    for (file, tag, bytes) in [
        (PRIVATE, "PRIVATE KEY", private.as_ref()),
        (PUBLIC, "PUBLIC KEY", &public),
    ] {
        fs::write(directory.join(file), pem::encode(&Pem::new(tag, bytes)))?;
    }
    Ok(())
}
