//! The four codecs of record batches, with decompression bounded: a legal 1 MiB zstd batch can claim 31 GiB.

use std::io::{self, Read, Write};

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

/// Codec of the records of a batch, in the low three bits of its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Records as they are.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy in the framing of snappy-java; raw snappy is read too (librdkafka writes it).
    Snappy,
    /// LZ4 frame format.
    Lz4,
    /// Zstandard (KIP-110).
    Zstd,
}

/// Why bytes could not be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CompressionError {
    /// The attribute bits name no codec.
    #[error("compression type {0} is unknown")]
    UnknownCodec(i16),
    /// The output would pass the bound.
    #[error("decompressed records exceed {0} bytes")]
    TooLarge(usize),
    /// The compressed bytes are damaged.
    #[error("{codec:?} data is damaged: {reason}")]
    Damaged { codec: Compression, reason: String },
}

/// The header of snappy-java's stream: magic, version 1, compatible version 1.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER_LEN: usize = 16;
const XERIAL_BLOCK_LEN: usize = 32 * 1024;

impl Compression {
    /// The codec in the low three bits of batch attributes.
    pub fn from_attributes(attributes: i16) -> Result<Compression, CompressionError> {
        match attributes & 0x07 {
            0 => Ok(Compression::None),
            1 => Ok(Compression::Gzip),
            2 => Ok(Compression::Snappy),
            3 => Ok(Compression::Lz4),
            4 => Ok(Compression::Zstd),
            other => Err(CompressionError::UnknownCodec(other)),
        }
    }

    /// The low three bits of batch attributes.
    pub fn attribute_bits(self) -> i16 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    /// Appends the compressed form of `input` to `out`.
    pub fn compress(self, input: &[u8], out: &mut BytesMut) {
        match self {
            Compression::None => out.put_slice(input),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(out.writer(), flate2::Compression::default());
                let done = encoder.write_all(input).and_then(|()| encoder.finish().map(|_| ()));
                done.expect("writing to memory does not fail");
            }
            Compression::Snappy => compress_xerial(input, out),
            Compression::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(out.writer());
                encoder.write_all(input).expect("writing to memory does not fail");
                encoder.finish().expect("writing to memory does not fail");
            }
            Compression::Zstd => {
                let compressed = zstd::bulk::compress(input, zstd::DEFAULT_COMPRESSION_LEVEL)
                    .expect("compressing memory to memory does not fail");
                out.put_slice(&compressed);
            }
        }
    }

    /// Decompresses `input` into at most `len_max` bytes. Uncompressed input is given back as it is, without a copy.
    pub fn decompress(self, input: Bytes, len_max: usize) -> Result<Bytes, CompressionError> {
        match self {
            Compression::None if input.len() > len_max => Err(CompressionError::TooLarge(len_max)),
            Compression::None => Ok(input),
            Compression::Gzip => {
                self.read_bounded(flate2::read::MultiGzDecoder::new(&input[..]), input.len(), len_max)
            }
            Compression::Snappy => decompress_snappy(&input, len_max),
            Compression::Lz4 => {
                self.read_bounded(lz4_flex::frame::FrameDecoder::new(&input[..]), input.len(), len_max)
            }
            Compression::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::new(&input[..]).map_err(|error| self.damaged(&error))?;
                // 8 MiB is the largest window that Kafka's own clients produce.
                decoder.window_log_max(23).map_err(|error| self.damaged(&error))?;
                self.read_bounded(decoder, input.len(), len_max)
            }
        }
    }

    /// Memory grows with what is really decoded, never with what a header claims.
    fn read_bounded(
        self,
        reader: impl Read,
        input_len: usize,
        len_max: usize,
    ) -> Result<Bytes, CompressionError> {
        let mut out = Vec::with_capacity((input_len * 3).min(len_max));
        let limit = len_max as u64 + 1;
        reader.take(limit).read_to_end(&mut out).map_err(|error| self.damaged(&error))?;
        if out.len() > len_max {
            return Err(CompressionError::TooLarge(len_max));
        }
        Ok(Bytes::from(out))
    }

    fn damaged(self, error: &io::Error) -> CompressionError {
        CompressionError::Damaged { codec: self, reason: error.to_string() }
    }
}

fn compress_xerial(input: &[u8], out: &mut BytesMut) {
    out.put_slice(&XERIAL_MAGIC);
    out.put_i32(1);
    out.put_i32(1);
    let mut encoder = snap::raw::Encoder::new();
    for block in input.chunks(XERIAL_BLOCK_LEN) {
        let compressed = encoder.compress_vec(block).expect("a block of 32 KiB always compresses");
        out.put_i32(compressed.len() as i32);
        out.put_slice(&compressed);
    }
}

fn decompress_snappy(input: &[u8], len_max: usize) -> Result<Bytes, CompressionError> {
    if !input.starts_with(&XERIAL_MAGIC) {
        return Ok(Bytes::from(decompress_snappy_block(input, len_max, len_max)?));
    }
    let cut_off =
        || CompressionError::Damaged { codec: Compression::Snappy, reason: "a block is cut off".to_owned() };
    let mut rest = input.get(XERIAL_HEADER_LEN..).ok_or_else(cut_off)?;
    let mut out = Vec::with_capacity((input.len() * 3).min(len_max));
    while !rest.is_empty() {
        let (length, after) = rest.split_at_checked(4).ok_or_else(cut_off)?;
        let length = u32::from_be_bytes(length.try_into().map_err(|_| cut_off())?) as usize;
        let (block, after) = after.split_at_checked(length).ok_or_else(cut_off)?;
        out.extend_from_slice(&decompress_snappy_block(block, len_max - out.len(), len_max)?);
        rest = after;
    }
    Ok(Bytes::from(out))
}

fn decompress_snappy_block(block: &[u8], left: usize, len_max: usize) -> Result<Vec<u8>, CompressionError> {
    let damaged = |error: snap::Error| CompressionError::Damaged {
        codec: Compression::Snappy,
        reason: error.to_string(),
    };
    // Snappy states its output length up front: it is checked before any memory is taken for it. A copy element makes
    // at most 64 bytes out of 2, so a claim beyond 32 times the input is a lie.
    let claimed = snap::raw::decompress_len(block).map_err(damaged)?;
    if claimed > left {
        return Err(CompressionError::TooLarge(len_max));
    }
    if claimed > block.len().saturating_mul(32) {
        return Err(CompressionError::Damaged {
            codec: Compression::Snappy,
            reason: format!("{} bytes claim to hold {claimed}", block.len()),
        });
    }
    snap::raw::Decoder::new().decompress_vec(block).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: [Compression; 4] =
        [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    #[test]
    fn a_bomb_stops_at_the_bound() {
        let zeros = vec![0u8; 8 << 20];
        for codec in CODECS {
            let mut bomb = BytesMut::new();
            codec.compress(&zeros, &mut bomb);
            let error = codec.decompress(bomb.freeze(), 1 << 20).unwrap_err();
            assert_eq!(error, CompressionError::TooLarge(1 << 20), "{codec:?}");
        }
    }

    #[test]
    fn raw_snappy_is_read_too() {
        let raw = snap::raw::Encoder::new().compress_vec(b"as librdkafka writes it").unwrap();
        let read = Compression::Snappy.decompress(Bytes::from(raw), 1024).unwrap();
        assert_eq!(&read[..], b"as librdkafka writes it");
    }

    #[test]
    fn truncated_data_is_damaged() {
        let text = b"some text that does not compress to nothing at all".repeat(20);
        for codec in CODECS {
            let mut packed = BytesMut::new();
            codec.compress(&text, &mut packed);
            let packed = packed.freeze();
            let cut = packed.slice(..packed.len() - 6);
            assert!(
                matches!(codec.decompress(cut, 1 << 20), Err(CompressionError::Damaged { .. })),
                "{codec:?}"
            );
        }
    }
}
