//! Reading a closed segment batch by batch.

use ottla_protocol::records::Batch;

use super::super::LogError;
use super::super::segment::Segment;

/// The batches of a closed segment, one after the other, checked against their CRC.
pub(super) struct SegmentBatches<'a> {
    segment: &'a Segment,
    position: u32,
}

impl SegmentBatches<'_> {
    pub fn new(segment: &Segment) -> SegmentBatches<'_> {
        SegmentBatches { segment, position: 0 }
    }

    fn read(&mut self) -> Result<Option<Batch>, LogError> {
        let size = self.segment.size();
        if self.position >= size {
            return Ok(None);
        }
        let corrupt = |reason: String| LogError::Corrupt {
            path: self.segment.path().to_owned(),
            offset: self.segment.base_offset,
            reason,
        };
        let header = self.segment.header_at(self.position, size)?;
        let header = header.ok_or_else(|| corrupt(format!("no batch at byte {}", self.position)))?;
        let batch = Batch::parse(&self.segment.read(self.position, header.size())?)?;
        batch.check_crc().map_err(|error| corrupt(format!("batch at byte {}: {error}", self.position)))?;
        self.position += header.size() as u32;
        Ok(Some(batch))
    }
}

impl Iterator for SegmentBatches<'_> {
    type Item = Result<Batch, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read().transpose();
        if read.as_ref().is_some_and(Result::is_err) {
            self.position = u32::MAX;
        }
        read
    }
}
