//! Text that is a cheap slice of the frame it came in. Owns the proof that its bytes are UTF-8.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// An immutable string over [`Bytes`]: cloning and slicing out of a frame copies nothing.
///
/// A slice keeps the whole frame alive, so what outlives its request by long is stored [`detached`](Str::detached).
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Str {
    /// Always valid UTF-8: every constructor checks it or starts from a `str`.
    bytes: Bytes,
}

impl Str {
    pub const fn from_static(text: &'static str) -> Str {
        Str { bytes: Bytes::from_static(text.as_bytes()) }
    }

    /// Takes the bytes as text without copying, if they are UTF-8.
    pub fn from_utf8(bytes: Bytes) -> Result<Str, std::str::Utf8Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Str { bytes })
    }

    #[allow(unsafe_code)]
    pub fn as_str(&self) -> &str {
        // SAFETY: `bytes` is private, never changed, and UTF-8 by every constructor. Names are compared and hashed
        // on every request, and checking them again each time would cost more than reading them did.
        unsafe { std::str::from_utf8_unchecked(&self.bytes) }
    }

    /// The same bytes, still shared with the frame.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// A copy of its own, which does not keep the frame alive.
    pub fn detached(&self) -> Str {
        Str { bytes: Bytes::copy_from_slice(&self.bytes) }
    }
}

impl Deref for Str {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Str {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

/// Hashes as `str` does, which `Borrow<str>` demands: maps keyed by `Str` are searched by `&str`.
impl std::hash::Hash for Str {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Str {
        Str { bytes: Bytes::copy_from_slice(text.as_bytes()) }
    }
}

impl From<String> for Str {
    fn from(text: String) -> Str {
        Str { bytes: Bytes::from(text.into_bytes()) }
    }
}

impl From<&String> for Str {
    fn from(text: &String) -> Str {
        Str::from(text.as_str())
    }
}

impl From<Str> for String {
    fn from(text: Str) -> String {
        text.as_str().to_owned()
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialEq<String> for Str {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<Str> for str {
    fn eq(&self, other: &Str) -> bool {
        self == other.as_str()
    }
}

impl PartialEq<Str> for &str {
    fn eq(&self, other: &Str) -> bool {
        *self == other.as_str()
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;

    #[test]
    fn maps_keyed_by_it_are_searched_by_str() {
        let hashed: HashMap<Str, u8> = [(Str::from("flights"), 1)].into();
        let ordered: BTreeMap<Str, u8> = [(Str::from("flights"), 1)].into();
        assert_eq!(hashed.get("flights"), Some(&1));
        assert_eq!(ordered.get("flights"), Some(&1));
        assert_eq!(hashed.get("Flights"), None);
    }

    #[test]
    fn refuses_bytes_that_are_not_utf8() {
        assert!(Str::from_utf8(Bytes::from_static(b"\xff\xfe")).is_err());
        assert_eq!(Str::from_utf8(Bytes::from_static("žádost".as_bytes())).unwrap(), "žádost");
    }

    #[test]
    fn a_detached_copy_does_not_share_the_frame() {
        let frame = Bytes::from(vec![b'a'; 64]);
        let text = Str::from_utf8(frame.slice(8..16)).unwrap();
        assert_eq!(text.as_bytes().as_ptr(), frame[8..].as_ptr());
        let copy = text.detached();
        assert_eq!(copy, text);
        assert_ne!(copy.as_bytes().as_ptr(), text.as_bytes().as_ptr());
    }
}
