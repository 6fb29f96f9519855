//! What a partition's owner tells without being asked: how far the log may be read, whether this node leads, and to whoever waits for
//! more that there is.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwapOption;

use super::handle::Leadership;
use super::readers::{Event, Readers, UpTo};
use crate::ids::Offset;

/// See the module.
#[derive(Default)]
pub(super) struct Published {
    high_watermark: AtomicI64,
    last_stable: AtomicI64,
    log_start: AtomicI64,
    /// While it leads.
    pub leadership: ArcSwapOption<Leadership>,
    /// Who waits for more.
    pub readers: Readers,
}

impl Published {
    pub fn high_watermark(&self) -> Offset {
        Offset(self.high_watermark.load(Ordering::Acquire))
    }

    pub fn last_stable(&self) -> Offset {
        Offset(self.last_stable.load(Ordering::Acquire))
    }

    pub fn set_high_watermark(&self, offset: Offset) {
        if self.high_watermark.swap(offset.0, Ordering::AcqRel) != offset.0 {
            self.readers.tell(Event::More(UpTo::HighWatermark));
        }
    }

    pub fn set_last_stable(&self, offset: Offset) {
        if self.last_stable.swap(offset.0, Ordering::AcqRel) != offset.0 {
            self.readers.tell(Event::More(UpTo::LastStable));
        }
    }

    /// Its readers hear of it; where it is they read in the log.
    pub fn set_log_start(&self, offset: Offset) {
        if self.log_start.swap(offset.0, Ordering::AcqRel) != offset.0 {
            self.readers.tell(Event::LogStart);
        }
    }

    /// The log has another end, which its reader says.
    pub fn log_end_moved(&self) {
        self.readers.tell(Event::More(UpTo::LogEnd));
    }
}

/// The owner's hold on it: readers hear when the owner ends.
pub(super) struct Publisher(Arc<Published>);

impl Publisher {
    pub fn new(published: Arc<Published>) -> Publisher {
        Publisher(published)
    }
}

impl Deref for Publisher {
    type Target = Published;

    fn deref(&self) -> &Published {
        &self.0
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.0.readers.tell(Event::Closed);
    }
}
