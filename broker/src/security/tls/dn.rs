//! The subject of a certificate as text, in the form (RFC 2253) that Kafka's principals and mapping rules have: the most
//! particular part first, `CN=alice,OU=sales,O=Example`.

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{Ia5StringRef, PrintableStringRef, TeletexStringRef, Utf8StringRef};
use x509_cert::der::{Decode, Encode, Tag, Tagged};

/// The kinds of attributes that have a name in RFC 2253.
const NAMES: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// The subject of a certificate; `None` when it cannot be read.
pub fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let mut parts = Vec::new();
    for relative in certificate.tbs_certificate.subject.0.iter().rev() {
        let attributes: Option<Vec<String>> = relative.0.iter().map(attribute).collect();
        parts.push(attributes?.join("+"));
    }
    Some(parts.join(","))
}

fn attribute(attribute: &AttributeTypeAndValue) -> Option<String> {
    let oid = attribute.oid.to_string();
    let name = NAMES.iter().find(|(known, _)| *known == oid).map(|(_, name)| *name);
    let value = &attribute.value;
    let text = match value.tag() {
        Tag::Utf8String => value.decode_as::<Utf8StringRef<'_>>().ok().map(|text| text.as_str().to_owned()),
        Tag::PrintableString => value.decode_as::<PrintableStringRef<'_>>().ok().map(|text| text.to_string()),
        Tag::Ia5String => value.decode_as::<Ia5StringRef<'_>>().ok().map(|text| text.to_string()),
        Tag::TeletexString => value.decode_as::<TeletexStringRef<'_>>().ok().map(|text| text.to_string()),
        _ => None,
    };
    match (name, text) {
        (Some(name), Some(text)) => Some(format!("{name}={}", escaped(&text))),
        // Without a name the value is shown as its bytes.
        (name, _) => {
            let bytes = value.to_der().ok()?;
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Some(format!("{}=#{hex}", name.unwrap_or(&oid)))
        }
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (place, letter) in text.chars().enumerate() {
        let at_an_end = (place == 0 && (letter == '#' || letter == ' ')) || (place == last && letter == ' ');
        if at_an_end || ",+\"\\<>;=".contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    #[test]
    fn a_subject_is_told_from_its_end_with_what_is_special_escaped() {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "DE");
        params.distinguished_name.push(DnType::OrganizationName, "A, B \"and\" C");
        params.distinguished_name.push(DnType::CustomDnType(vec![1, 2, 840, 113549, 1, 9, 1]), "a@b");
        params.distinguished_name.push(DnType::CommonName, " alice ");
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(
            subject(certificate.der()).unwrap(),
            "CN=\\ alice\\ ,1.2.840.113549.1.9.1=#0c03614062,O=A\\, B \\\"and\\\" C,C=DE"
        );
    }

    #[test]
    fn what_is_no_certificate_has_no_subject() {
        assert_eq!(subject(&CertificateDer::from(vec![0x30, 0x82, 0xff, 0xff])), None);
    }
}
