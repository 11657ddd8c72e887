//! What certificates say: read, never judged. The judge is the verifier of [`super::tls`].
//!
//! The one that a target shows for itself is read whole, those that it sends along for their ends alone
//! unless an expression wants more.

use parallax_common::expect::Certificate;
use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::Oid;
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2sn};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

/// RFC 8410.
const ED25519: &str = "1.3.101.112";
const ED448: &str = "1.3.101.113";

/// When a certificate ends, in seconds of UTC; `None` when it cannot be read.
pub(super) fn not_after_s(der: &CertificateDer<'_>) -> Option<i64> {
    let (_, cert) = X509Certificate::from_der(der).ok()?;
    Some(cert.validity().not_after.timestamp())
}

/// Reads a certificate and when it ends; `None` when it cannot be read.
pub(super) fn describe(der: &CertificateDer<'_>, now_ns: i64) -> Option<(Certificate, i64)> {
    let (_, cert) = X509Certificate::from_der(der).ok()?;
    let not_after_s = cert.validity().not_after.timestamp();
    let left_s = not_after_s - now_ns.div_euclid(1_000_000_000);
    let names = cert.subject_alternative_name().ok().flatten();
    let names = names.map(|names| {
        let name = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        };
        names.value.general_names.iter().filter_map(name).collect()
    });
    let (key_type, key_bits) = key(&cert);
    let certificate = Certificate {
        days_left: left_s.div_euclid(86_400),
        names: names.unwrap_or_default(),
        issuer: cert.issuer().to_string(),
        subject: cert.subject().to_string(),
        serial: cert.raw_serial_as_string(),
        signature: algorithm(&cert.signature_algorithm.algorithm),
        key_type,
        key_bits,
    };
    Some((certificate, not_after_s))
}

fn key(cert: &X509Certificate<'_>) -> (String, u32) {
    let info = cert.public_key();
    let bits = |bits: usize| u32::try_from(bits).unwrap_or(u32::MAX);
    match info.parsed() {
        Ok(PublicKey::RSA(rsa)) => ("RSA".to_owned(), bits(rsa.key_size())),
        // Coordinates are whole bytes, and those of P-521 have room to spare.
        Ok(PublicKey::EC(point)) => match bits(point.key_size()) {
            528 => ("EC".to_owned(), 521),
            size => ("EC".to_owned(), size),
        },
        _ => match info.algorithm.algorithm.to_id_string().as_str() {
            ED25519 => ("Ed25519".to_owned(), 256),
            ED448 => ("Ed448".to_owned(), 456),
            _ => (algorithm(&info.algorithm.algorithm), 0),
        },
    }
}

/// The short name of an algorithm, or its object identifier.
fn algorithm(oid: &Oid<'_>) -> String {
    oid2sn(oid, oid_registry()).map_or_else(|_| oid.to_id_string(), str::to_owned)
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| std::net::Ipv4Addr::from(bytes).to_string());
    let v6 = || <[u8; 16]>::try_from(bytes).map(|b| std::net::Ipv6Addr::from(b).to_string());
    v4.or_else(|_| v6()).ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SerialNumber, date_time_ymd};

    use super::*;

    #[test]
    fn keys_and_signatures_have_their_names() {
        for (algorithm, signature, key_type, key_bits) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, "ecdsa-with-SHA256", "EC", 256),
            (&rcgen::PKCS_ECDSA_P384_SHA384, "ecdsa-with-SHA384", "EC", 384),
            (&rcgen::PKCS_ED25519, "ed25519", "Ed25519", 256),
        ] {
            let mut params = CertificateParams::new(vec![
                "shop.example".to_owned(),
                "127.0.0.1".to_owned(),
                "::1".to_owned(),
            ])
            .unwrap();
            params.distinguished_name.push(DnType::CommonName, "shop");
            params.serial_number = Some(SerialNumber::from_slice(&[10, 27]));
            params.not_after = date_time_ymd(2020, 1, 11);
            let key = KeyPair::generate_for(algorithm).unwrap();
            let cert = params.self_signed(&key).unwrap();
            // The first of the year.
            let now_ns = 1_577_836_800 * 1_000_000_000;
            let (read, not_after_s) = describe(cert.der(), now_ns).unwrap();
            assert_eq!(not_after_s, 1_577_836_800 + 10 * 86_400);
            assert_eq!(super::not_after_s(cert.der()), Some(not_after_s));
            assert_eq!((read.days_left, read.serial.as_str()), (10, "0a:1b"));
            assert_eq!(read.names, ["shop.example", "127.0.0.1", "::1"]);
            assert!(read.subject.contains("CN=shop"), "{read:?}");
            assert_eq!(read.issuer, read.subject);
            assert_eq!(read.signature.to_lowercase(), signature.to_lowercase());
            assert_eq!((read.key_type.as_str(), read.key_bits), (key_type, key_bits));
        }
        assert_eq!(describe(&CertificateDer::from(vec![0x30, 0]), 0), None);
    }
}
