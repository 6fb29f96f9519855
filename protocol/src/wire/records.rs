//! Record batches in an answer to a fetch: here in memory, or announced by length and sent from elsewhere.

use std::fmt;

use bytes::Bytes;

/// The records of one partition in a fetch response.
#[derive(Clone, PartialEq, Eq)]
pub enum Records {
    /// Bytes in memory. Reading a response always gives these.
    Held(Bytes),
    /// As many bytes that the sender of the frame puts in itself, e.g. out of a file: the frame has a
    /// [`Part::Gap`] in their place, in the order in which they were written.
    Elsewhere {
        /// How many.
        length: usize,
    },
}

impl Records {
    /// Bytes on the wire.
    pub fn len(&self) -> usize {
        match self {
            Records::Held(bytes) => bytes.len(),
            Records::Elsewhere { length } => *length,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of records that were received; none of those that were only announced.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Records::Held(bytes) => bytes,
            Records::Elsewhere { .. } => Bytes::new(),
        }
    }
}

impl Default for Records {
    fn default() -> Records {
        Records::Held(Bytes::new())
    }
}

/// Held records look like their bytes.
impl fmt::Debug for Records {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Records::Held(bytes) => bytes.fmt(formatter),
            Records::Elsewhere { length } => write!(formatter, "{length} bytes elsewhere"),
        }
    }
}

/// A piece of a frame that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// These bytes.
    Bytes(Bytes),
    /// So many bytes that the sender has elsewhere.
    Gap(usize),
}
