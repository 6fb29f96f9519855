//! Numbers as bytes that compare as the numbers do.

use arrow::datatypes::{DataType, i256};

use super::CodecError;

/// A number whose bytes compare as it does.
pub(super) trait NativeBytes: Sized {
    fn write(self, out: &mut Vec<u8>);
    fn read(cursor: &mut &[u8], data_type: &DataType) -> Result<Self, CodecError>;
}

fn take_array<const N: usize>(cursor: &mut &[u8], data_type: &DataType) -> Result<[u8; N], CodecError> {
    let (bytes, rest) =
        cursor.split_first_chunk::<N>().ok_or_else(|| CodecError::Truncated(data_type.clone()))?;
    *cursor = rest;
    Ok(*bytes)
}

macro_rules! unsigned_bytes {
    ($($native:ty),*) => {$(
        impl NativeBytes for $native {
            fn write(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            fn read(cursor: &mut &[u8], data_type: &DataType) -> Result<Self, CodecError> {
                take_array(cursor, data_type).map(<$native>::from_be_bytes)
            }
        }
    )*};
}

macro_rules! signed_bytes {
    ($($native:ty),*) => {$(
        impl NativeBytes for $native {
            fn write(self, out: &mut Vec<u8>) {
                let mut bytes = self.to_be_bytes();
                bytes[0] ^= 0x80;
                out.extend_from_slice(&bytes);
            }
            fn read(cursor: &mut &[u8], data_type: &DataType) -> Result<Self, CodecError> {
                let mut bytes = take_array(cursor, data_type)?;
                bytes[0] ^= 0x80;
                Ok(<$native>::from_be_bytes(bytes))
            }
        }
    )*};
}

macro_rules! float_bytes {
    ($($native:ty, $bits:ty, $sign:expr);*) => {$(
        impl NativeBytes for $native {
            fn write(self, out: &mut Vec<u8>) {
                let bits = self.to_bits();
                let ordered = if bits & $sign != 0 { !bits } else { bits | $sign };
                out.extend_from_slice(&ordered.to_be_bytes());
            }
            fn read(cursor: &mut &[u8], data_type: &DataType) -> Result<Self, CodecError> {
                let ordered = take_array(cursor, data_type).map(<$bits>::from_be_bytes)?;
                let bits = if ordered & $sign != 0 { ordered & !$sign } else { !ordered };
                Ok(<$native>::from_bits(bits))
            }
        }
    )*};
}

unsigned_bytes!(u8, u16, u32, u64);
signed_bytes!(i8, i16, i32, i64, i128, i256);
float_bytes!(f32, u32, 1u32 << 31; f64, u64, 1u64 << 63);
