//! The part of a file that has been read but not yet cut into rows.

use crate::rows::Position;

/// The longest row that a reader holds in memory before it calls it bad, in bytes.
pub(crate) const ROW_BYTES_MAX: usize = 1 << 20;

/// Bytes come in at the end, rows go out at the front, and the position of the front is always known.
pub(crate) struct Window {
    bytes: Vec<u8>,
    front: usize,
    position: Position,
    ended: bool,
}

impl Window {
    pub(crate) fn new(position: Position) -> Self {
        Self { bytes: Vec::new(), front: 0, position, ended: false }
    }

    /// Appends a chunk of the file. What is already cut off is dropped first, so memory stays at one row and a chunk.
    pub(crate) fn feed(&mut self, chunk: &[u8]) {
        self.bytes.drain(..self.front);
        self.front = 0;
        self.bytes.extend_from_slice(chunk);
    }

    /// No chunk will follow: the last row needs no line end.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    pub(crate) fn rest(&self) -> &[u8] {
        self.bytes.get(self.front..).unwrap_or(&[])
    }

    /// The place of the first byte of [`Window::rest`].
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// Cuts `len` bytes with `lines` line ends off the front.
    pub(crate) fn advance(&mut self, len: usize, lines: u64) {
        self.front += len;
        self.position.byte += len as u64;
        self.position.line += lines;
    }
}
