//! Writes Kafka's primitives into one buffer, with large byte ranges (records) spliced in untouched: they are
//! remembered beside the buffer with the place where they belong, and never copied unless the caller asks for one
//! contiguous piece.

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use super::{EncodeError, Part, Records, Str};

/// Smaller records are copied: a segment of its own costs an I/O vector, which is dearer than so few bytes.
const SPLICE_BYTES_MIN: usize = 1024;

/// A frame, or a part of one, in the making.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: BytesMut,
    /// Foreign bytes and gaps, each with the position in `buffer` it stands before; positions never decrease.
    splices: Vec<(usize, Part)>,
    spliced_bytes: usize,
}

type Result = std::result::Result<(), EncodeError>;

impl Writer {
    pub fn new() -> Writer {
        Writer::default()
    }

    pub fn with_capacity(bytes: usize) -> Writer {
        Writer { buffer: BytesMut::with_capacity(bytes), ..Writer::default() }
    }

    /// Bytes written so far, spliced ones included.
    pub fn len(&self) -> usize {
        self.buffer.len() + self.spliced_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was written, as segments to be sent one after another; only the spliced ones are shared with others.
    ///
    /// For what has no [`Records::Elsewhere`]: their gaps would be missing.
    pub fn finish(self) -> Vec<Bytes> {
        let held = |part| match part {
            Part::Bytes(bytes) => Some(bytes),
            Part::Gap(_) => {
                debug_assert!(false, "a gap needs finish_parts");
                None
            }
        };
        self.finish_parts().into_iter().filter_map(held).collect()
    }

    /// As [`finish`](Writer::finish), with the gaps that the sender fills.
    pub fn finish_parts(mut self) -> Vec<Part> {
        let mut parts = Vec::with_capacity(2 * self.splices.len() + 1);
        let mut taken = 0;
        for (position, splice) in self.splices {
            if position > taken {
                parts.push(Part::Bytes(self.buffer.split_to(position - taken).freeze()));
                taken = position;
            }
            parts.push(splice);
        }
        if !self.buffer.is_empty() {
            parts.push(Part::Bytes(self.buffer.freeze()));
        }
        parts
    }

    /// What was written, in one piece; copies if anything was spliced.
    pub fn finish_contiguous(self) -> Bytes {
        if self.splices.is_empty() {
            return self.buffer.freeze();
        }
        let mut whole = BytesMut::with_capacity(self.len());
        for segment in self.finish() {
            whole.extend_from_slice(&segment);
        }
        whole.freeze()
    }

    pub fn bool(&mut self, value: bool) {
        self.buffer.put_u8(u8::from(value));
    }

    pub fn i8(&mut self, value: i8) {
        self.buffer.put_i8(value);
    }

    pub fn i16(&mut self, value: i16) {
        self.buffer.put_i16(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.buffer.put_u16(value);
    }

    pub fn i32(&mut self, value: i32) {
        self.buffer.put_i32(value);
    }

    pub fn u32(&mut self, value: u32) {
        self.buffer.put_u32(value);
    }

    pub fn i64(&mut self, value: i64) {
        self.buffer.put_i64(value);
    }

    pub fn f64(&mut self, value: f64) {
        self.buffer.put_f64(value);
    }

    pub fn uuid(&mut self, value: Uuid) {
        self.buffer.put_slice(value.as_bytes());
    }

    pub fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.put_u8((value as u8) | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(value as u8);
    }

    /// Overwrites four bytes that were written before, such as the length that opens a frame.
    pub(crate) fn patch_i32(&mut self, position: usize, value: i32) {
        if let Some(target) = self.buffer.get_mut(position..position + 4) {
            target.copy_from_slice(&value.to_be_bytes());
        }
    }

    /// A compact length is one more than the length, so that 0 is null.
    fn compact_length(&mut self, length: Option<usize>) -> Result {
        const MAX: usize = i32::MAX as usize;
        match length {
            Some(length) if length > MAX => return Err(EncodeError::TooLong { length, max: MAX }),
            Some(length) => self.unsigned_varint(length as u32 + 1),
            None => self.unsigned_varint(0),
        }
        Ok(())
    }

    fn length_i16(&mut self, length: Option<usize>) -> Result {
        const MAX: usize = i16::MAX as usize;
        match length {
            Some(length) if length > MAX => return Err(EncodeError::TooLong { length, max: MAX }),
            Some(length) => self.i16(length as i16),
            None => self.i16(-1),
        }
        Ok(())
    }

    fn length_i32(&mut self, length: Option<usize>, flexible: bool) -> Result {
        const MAX: usize = i32::MAX as usize;
        match length {
            _ if flexible => return self.compact_length(length),
            Some(length) if length > MAX => return Err(EncodeError::TooLong { length, max: MAX }),
            Some(length) => self.i32(length as i32),
            None => self.i32(-1),
        }
        Ok(())
    }

    pub fn string(&mut self, value: &str, flexible: bool) -> Result {
        // Java refuses a string over 32767 bytes in either encoding when it reads one.
        const MAX: usize = i16::MAX as usize;
        if flexible && value.len() <= MAX {
            self.compact_length(Some(value.len()))?;
        } else {
            self.length_i16(Some(value.len()))?;
        }
        self.buffer.put_slice(value.as_bytes());
        Ok(())
    }

    pub fn nullable_string(&mut self, value: Option<&Str>, flexible: bool) -> Result {
        match value {
            Some(value) => self.string(value, flexible),
            None if flexible => self.compact_length(None),
            None => self.length_i16(None),
        }
    }

    pub fn bytes(&mut self, value: &Bytes, flexible: bool) -> Result {
        self.length_i32(Some(value.len()), flexible)?;
        self.splice(value);
        Ok(())
    }

    pub fn nullable_bytes(&mut self, value: Option<&Bytes>, flexible: bool) -> Result {
        match value {
            Some(value) => self.bytes(value, flexible),
            None => self.length_i32(None, flexible),
        }
    }

    pub fn records(&mut self, value: &Records, flexible: bool) -> Result {
        match value {
            Records::Held(bytes) => self.bytes(bytes, flexible),
            Records::Elsewhere { length } => {
                self.length_i32(Some(*length), flexible)?;
                self.spliced_bytes += length;
                self.splices.push((self.buffer.len(), Part::Gap(*length)));
                Ok(())
            }
        }
    }

    pub fn nullable_records(&mut self, value: Option<&Records>, flexible: bool) -> Result {
        match value {
            Some(value) => self.records(value, flexible),
            None => self.length_i32(None, flexible),
        }
    }

    /// Puts the bytes here without a length; large ones are shared, not copied.
    pub fn splice(&mut self, bytes: &Bytes) {
        if bytes.len() < SPLICE_BYTES_MIN {
            self.buffer.put_slice(bytes);
        } else {
            self.spliced_bytes += bytes.len();
            self.splices.push((self.buffer.len(), Part::Bytes(bytes.clone())));
        }
    }

    pub fn array<T>(
        &mut self,
        elements: &[T],
        flexible: bool,
        write: impl FnMut(&mut Writer, &T) -> Result,
    ) -> Result {
        self.nullable_array(Some(elements), flexible, write)
    }

    pub fn nullable_array<T>(
        &mut self,
        elements: Option<&[T]>,
        flexible: bool,
        mut write: impl FnMut(&mut Writer, &T) -> Result,
    ) -> Result {
        self.length_i32(elements.map(<[T]>::len), flexible)?;
        for element in elements.unwrap_or_default() {
            write(self, element)?;
        }
        Ok(())
    }

    /// One tagged field: its tag, its length, and what `write` writes.
    pub fn tagged(&mut self, tag: u32, write: impl FnOnce(&mut Writer) -> Result) -> Result {
        let mut field = Writer::new();
        write(&mut field)?;
        self.unsigned_varint(tag);
        let length = u32::try_from(field.len());
        let length =
            length.map_err(|_| EncodeError::TooLong { length: field.len(), max: u32::MAX as usize })?;
        self.unsigned_varint(length);
        for part in field.finish_parts() {
            match part {
                Part::Bytes(bytes) => self.splice(&bytes),
                gap @ Part::Gap(length) => {
                    self.spliced_bytes += length;
                    self.splices.push((self.buffer.len(), gap));
                }
            }
        }
        Ok(())
    }

    /// The end of a flexible structure that has no tagged fields to write.
    pub fn no_tagged_fields(&mut self) {
        self.unsigned_varint(0);
    }
}

/// The value of a field that this version may not leave null.
pub(crate) fn non_null<'a, T>(
    value: &'a Option<T>,
    field: &'static str,
    version: i16,
) -> std::result::Result<&'a T, EncodeError> {
    value.as_ref().ok_or(EncodeError::Null { field, version })
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;

    #[test]
    fn large_bytes_are_spliced_without_a_copy() {
        let records = Bytes::from(vec![7u8; 4096]);
        let mut writer = Writer::new();
        writer.i16(1);
        writer.bytes(&records, true).unwrap();
        writer.bytes(&records, false).unwrap();
        writer.i16(2);
        assert_eq!(writer.len(), 2 + 2 + 4096 + 4 + 4096 + 2);
        let segments = writer.finish();
        assert_eq!(segments.len(), 5);
        assert_eq!(segments[1].as_ptr(), records.as_ptr());
        assert_eq!(segments[3].as_ptr(), records.as_ptr());
    }

    #[test]
    fn segments_joined_are_the_contiguous_form() {
        let write = || {
            let mut writer = Writer::new();
            writer.splice(&Bytes::from(vec![1; 2000]));
            writer.splice(&Bytes::from(vec![2; 2000]));
            writer.string("tail", true).unwrap();
            writer.tagged(3, |w| w.bytes(&Bytes::from(vec![3; 5000]), true)).unwrap();
            writer
        };
        assert_eq!(write().finish().concat(), write().finish_contiguous());
    }

    #[test]
    fn records_from_elsewhere_leave_a_gap_where_they_belong() {
        let mut writer = Writer::new();
        writer.i16(1);
        writer.records(&Records::Elsewhere { length: 300 }, true).unwrap();
        writer.i16(2);
        assert_eq!(writer.len(), 2 + 2 + 300 + 2);
        let bytes = |bytes: &'static [u8]| Part::Bytes(Bytes::from_static(bytes));
        assert_eq!(writer.finish_parts(), [bytes(&[0, 1, 0xad, 2]), Part::Gap(300), bytes(&[0, 2])]);
    }

    #[test]
    fn a_string_too_long_for_its_length_is_refused() {
        let text = "x".repeat(32768);
        assert!(matches!(Writer::new().string(&text, false), Err(EncodeError::TooLong { .. })));
        assert!(matches!(Writer::new().string(&text, true), Err(EncodeError::TooLong { .. })));
    }

    proptest::proptest! {
        #[test]
        fn unsigned_varints_round_trip(value: u32) {
            let mut writer = Writer::new();
            writer.unsigned_varint(value);
            let mut reader = Reader::new(writer.finish_contiguous());
            proptest::prop_assert_eq!(reader.unsigned_varint(), Ok(value));
            proptest::prop_assert_eq!(reader.remaining(), 0);
        }
    }
}
