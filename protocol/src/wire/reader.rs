//! Reads Kafka's primitives out of one frame. Strings, bytes and records come out as slices of the frame. Every
//! length is compared with the bytes that are left before anything is done with it, so a hostile length costs
//! nothing: no memory is taken for what is not there.

use bytes::Bytes;
use uuid::Uuid;

use super::{DecodeError, Records, Str};

/// A position within one frame.
#[derive(Debug, Clone)]
pub struct Reader {
    frame: Bytes,
    at: usize,
}

type Result<T> = std::result::Result<T, DecodeError>;

impl Reader {
    pub fn new(frame: impl Into<Bytes>) -> Reader {
        Reader { frame: frame.into(), at: 0 }
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.frame.len() - self.at
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Fails unless everything was read.
    pub fn finish(self) -> Result<()> {
        match self.remaining() {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes { at: self.at, count }),
        }
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let left = self.remaining();
        let end = DecodeError::UnexpectedEnd { at: self.at, needed: N, left };
        let bytes = self.frame.get(self.at..).and_then(|rest| rest.first_chunk::<N>()).ok_or(end)?;
        self.at += N;
        Ok(*bytes)
    }

    /// Java writes 0 or 1 and takes everything but 0 as true; so do we.
    pub fn bool(&mut self) -> Result<bool> {
        Ok(self.i8()? != 0)
    }

    pub fn i8(&mut self) -> Result<i8> {
        Ok(i8::from_be_bytes(self.fixed()?))
    }

    pub fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.fixed()?))
    }

    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.fixed()?))
    }

    pub fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.fixed()?))
    }

    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.fixed()?))
    }

    pub fn f64(&mut self) -> Result<f64> {
        Ok(f64::from_be_bytes(self.fixed()?))
    }

    pub fn uuid(&mut self) -> Result<Uuid> {
        Ok(Uuid::from_bytes(self.fixed()?))
    }

    /// Seven bits a byte, the lowest first; at most five bytes, of which the last may hold four bits.
    pub fn unsigned_varint(&mut self) -> Result<u32> {
        let start = self.at;
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed()?;
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint { at: start })
    }

    /// The next `length` bytes as a slice of the frame.
    pub fn slice(&mut self, length: usize) -> Result<Bytes> {
        if length > self.remaining() {
            return Err(DecodeError::UnexpectedEnd { at: self.at, needed: length, left: self.remaining() });
        }
        let slice = self.frame.slice(self.at..self.at + length);
        self.at += length;
        Ok(slice)
    }

    /// A length that was read at `start`: -1 is null, every other must fit into what is left at `unit` bytes each.
    fn checked(&self, start: usize, length: i64, unit: usize) -> Result<Option<usize>> {
        if length == -1 {
            return Ok(None);
        }
        let left = self.remaining();
        match usize::try_from(length) {
            Ok(count) if count <= left / unit => Ok(Some(count)),
            _ => Err(DecodeError::Length { at: start, length, left }),
        }
    }

    fn compact_length(&mut self) -> Result<i64> {
        Ok(i64::from(self.unsigned_varint()?) - 1)
    }

    fn text(&mut self, start: usize, length: usize) -> Result<Str> {
        // A compact length could say more, but Java refuses such a string, and the classic length cannot.
        if length > i16::MAX as usize {
            let (length, left) = (length as i64, self.remaining());
            return Err(DecodeError::Length { at: start, length, left });
        }
        let bytes = self.slice(length)?;
        Str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8 { at: start })
    }

    pub fn string(&mut self, flexible: bool) -> Result<Str> {
        let at = self.at;
        self.nullable_string(flexible)?.ok_or(DecodeError::Null { at })
    }

    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<Str>> {
        let start = self.at;
        let length = if flexible { self.compact_length()? } else { i64::from(self.i16()?) };
        match self.checked(start, length, 1)? {
            Some(length) => self.text(start, length).map(Some),
            None => Ok(None),
        }
    }

    pub fn bytes(&mut self, flexible: bool) -> Result<Bytes> {
        let at = self.at;
        self.nullable_bytes(flexible)?.ok_or(DecodeError::Null { at })
    }

    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>> {
        let start = self.at;
        let length = if flexible { self.compact_length()? } else { i64::from(self.i32()?) };
        match self.checked(start, length, 1)? {
            Some(length) => self.slice(length).map(Some),
            None => Ok(None),
        }
    }

    pub fn records(&mut self, flexible: bool) -> Result<Records> {
        self.bytes(flexible).map(Records::Held)
    }

    pub fn nullable_records(&mut self, flexible: bool) -> Result<Option<Records>> {
        Ok(self.nullable_bytes(flexible)?.map(Records::Held))
    }

    /// An array whose elements take at least `element_bytes_min` bytes each on the wire.
    pub fn array<T>(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        read: impl FnMut(&mut Reader) -> Result<T>,
    ) -> Result<Vec<T>> {
        let at = self.at;
        self.nullable_array(flexible, element_bytes_min, read)?.ok_or(DecodeError::Null { at })
    }

    /// As [`array`](Reader::array), or null.
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        mut read: impl FnMut(&mut Reader) -> Result<T>,
    ) -> Result<Option<Vec<T>>> {
        let start = self.at;
        let length = if flexible { self.compact_length()? } else { i64::from(self.i32()?) };
        let Some(count) = self.checked(start, length, element_bytes_min.max(1))? else {
            return Ok(None);
        };
        // An element may be larger in memory than on the wire. What is reserved ahead never exceeds the bytes that
        // are there; beyond it the vector grows only as elements are really read.
        let affordable = self.remaining() / size_of::<T>().max(1);
        let mut elements = Vec::with_capacity(count.min(affordable));
        for _ in 0..count {
            elements.push(read(self)?);
        }
        Ok(Some(elements))
    }

    /// Tagged fields (KIP-482). `known` gets each tag with a reader over that field's bytes alone, and says whether
    /// it knew the tag; what it doesn't know is skipped.
    pub fn tagged_fields(&mut self, mut known: impl FnMut(u32, &mut Reader) -> Result<bool>) -> Result<()> {
        for _ in 0..self.unsigned_varint()? {
            let tag = self.unsigned_varint()?;
            let start = self.at;
            let length = i64::from(self.unsigned_varint()?);
            let left = self.remaining();
            let length =
                self.checked(start, length, 1)?.ok_or(DecodeError::Length { at: start, length, left })?;
            let mut field = Reader { frame: self.frame.slice(..self.at + length), at: self.at };
            if known(tag, &mut field)? {
                field.finish()?;
            }
            self.at += length;
        }
        Ok(())
    }

    /// Tagged fields of which none is known.
    pub fn skip_tagged_fields(&mut self) -> Result<()> {
        self.tagged_fields(|_, _| Ok(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &'static [u8]) -> Reader {
        Reader::new(Bytes::from_static(bytes))
    }

    #[test]
    fn a_hostile_array_length_is_refused_before_memory_is_taken() {
        let mut classic = reader(b"\x7f\xff\xff\xff\x00\x00");
        assert_eq!(
            classic.array(false, 2, |r| r.i16()),
            Err(DecodeError::Length { at: 0, length: 0x7fff_ffff, left: 2 })
        );
        let mut compact = reader(b"\xff\xff\xff\xff\x0f\x00\x00");
        assert!(matches!(compact.array(true, 2, |r| r.i16()), Err(DecodeError::Length { .. })));
    }

    #[test]
    fn a_negative_length_other_than_null_is_refused() {
        assert!(matches!(reader(b"\xff\xfe").nullable_string(false), Err(DecodeError::Length { .. })));
        assert_eq!(reader(b"\xff\xff").nullable_string(false), Ok(None));
        assert_eq!(reader(b"\xff\xff").string(false), Err(DecodeError::Null { at: 0 }));
    }

    #[test]
    fn a_compact_string_over_32767_bytes_is_refused() {
        let mut bytes = vec![0x81, 0x80, 0x02];
        bytes.resize(3 + 0x8000, b'a');
        assert!(matches!(Reader::new(bytes).string(true), Err(DecodeError::Length { .. })));
    }

    #[test]
    fn a_varint_longer_than_32_bits_is_refused() {
        assert_eq!(reader(b"\xff\xff\xff\xff\x0f").unsigned_varint(), Ok(u32::MAX));
        assert_eq!(reader(b"\xff\xff\xff\xff\x1f").unsigned_varint(), Err(DecodeError::Varint { at: 0 }));
        assert_eq!(reader(b"\x80\x80\x80\x80\x80\x00").unsigned_varint(), Err(DecodeError::Varint { at: 0 }));
    }

    #[test]
    fn unknown_tagged_fields_are_skipped_and_known_ones_must_be_read_to_their_end() {
        let bytes = b"\x02\x05\x03abc\x07\x02\x00\x2a!";
        let mut seen = None;
        let mut skipping = reader(bytes);
        skipping
            .tagged_fields(|tag, field| {
                if tag == 7 {
                    seen = Some(field.i16()?);
                }
                Ok(tag == 7)
            })
            .unwrap();
        assert_eq!((seen, skipping.remaining()), (Some(42), 1));

        let short = reader(bytes).tagged_fields(|tag, field| {
            field.i8()?;
            Ok(tag == 7)
        });
        assert_eq!(short, Err(DecodeError::TrailingBytes { at: 9, count: 1 }));
    }

    #[test]
    fn a_tagged_field_cannot_read_past_its_own_bytes() {
        let result = reader(b"\x01\x00\x01\x00\x00").tagged_fields(|_, field| field.i16().map(|_| true));
        assert!(matches!(result, Err(DecodeError::UnexpectedEnd { .. })));
    }

    #[test]
    fn slices_share_the_frame() {
        let frame = Bytes::from(b"\x00\x00\x00\x03abc".to_vec());
        let slice = Reader::new(frame.clone()).bytes(false).unwrap();
        assert_eq!(slice.as_ptr(), frame[4..].as_ptr());
    }
}
