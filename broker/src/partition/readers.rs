//! Who reads a partition and waits for more. A fetch that has found all there is tells its partitions so, and hears from each that has
//! more; so waiting for one of thousands costs nothing for the others.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

/// How far somebody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpTo {
    /// A follower: all there is.
    LogEnd,
    /// What is committed.
    HighWatermark,
    /// What is decided: nothing of a transaction that is open, and nothing behind it.
    LastStable,
}

/// What a partition tells its readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// There is more for those who read so far.
    More(UpTo),
    /// Its log begins elsewhere: worth telling, but not worth an answer of its own.
    LogStart,
    /// It is served no more.
    Closed,
}

/// What a reader of many partitions has heard and not looked at yet, by the numbers that it has given them.
#[derive(Debug, Default)]
pub struct News {
    heard: Mutex<BTreeSet<u64>>,
    more: Notify,
}

impl News {
    /// What was heard since the last call. Whoever looks at a partition takes the news first, so that none is lost in between.
    pub fn take(&self) -> BTreeSet<u64> {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until there is more to read, or has been since the last wait.
    pub async fn more(&self) {
        self.more.notified().await;
    }

    /// Ends the wait of whoever waits, or the next one.
    pub fn wake(&self) {
        self.more.notify_one();
    }

    fn hear(&self, number: u64, is_more: bool) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
        if is_more {
            self.wake();
        }
    }
}

#[derive(Debug)]
struct Reader {
    /// Gone with the fetch or the session that it is of.
    news: Weak<News>,
    number: u64,
    up_to: UpTo,
}

/// The readers of one partition.
#[derive(Debug, Default)]
pub struct Readers {
    readers: Mutex<Vec<Reader>>,
}

impl Readers {
    fn lock(&self) -> MutexGuard<'_, Vec<Reader>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this reader hears what it is told of the partition, by that number.
    pub fn add(&self, news: &Arc<News>, number: u64, up_to: UpTo) {
        let mut readers = self.lock();
        if let Some(known) = readers.iter_mut().find(|reader| reader.news.as_ptr() == Arc::as_ptr(news)) {
            (known.number, known.up_to) = (number, up_to);
            return;
        }
        readers.retain(|reader| reader.news.strong_count() > 0);
        readers.push(Reader { news: Arc::downgrade(news), number, up_to });
    }

    /// It hears no more.
    pub fn remove(&self, news: &Arc<News>) {
        self.lock().retain(|reader| reader.news.as_ptr() != Arc::as_ptr(news));
    }

    /// Tells all of them.
    pub fn tell(&self, event: Event) {
        self.lock().retain(|reader| {
            let Some(news) = reader.news.upgrade() else { return false };
            let is_more = match event {
                Event::More(up_to) => reader.up_to == up_to,
                Event::LogStart => false,
                Event::Closed => true,
            };
            news.hear(reader.number, is_more);
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// Whether a wait would be over.
    fn is_woken(news: &News) -> bool {
        news.more().now_or_never().is_some()
    }

    fn numbers(news: &News) -> Vec<u64> {
        news.take().into_iter().collect()
    }

    #[test]
    fn a_reader_hears_everything_and_wakes_for_what_it_can_read() {
        let readers = Readers::default();
        for up_to in [UpTo::LogEnd, UpTo::HighWatermark, UpTo::LastStable] {
            let news = Arc::new(News::default());
            readers.add(&news, 7, up_to);
            for told in [UpTo::LogEnd, UpTo::HighWatermark, UpTo::LastStable] {
                readers.tell(Event::More(told));
                assert_eq!((numbers(&news), is_woken(&news)), (vec![7], told == up_to), "{up_to:?} {told:?}");
            }
            readers.tell(Event::LogStart);
            assert_eq!((numbers(&news), is_woken(&news)), (vec![7], false));
            readers.tell(Event::Closed);
            assert_eq!((numbers(&news), is_woken(&news)), (vec![7], true));
            assert_eq!((numbers(&news), is_woken(&news)), (vec![], false), "once");
        }
    }

    #[test]
    fn a_reader_is_known_once_by_its_last_number_and_until_it_goes() {
        let (first, second) = (Readers::default(), Readers::default());
        let (stays, goes) = (Arc::new(News::default()), Arc::new(News::default()));
        first.add(&stays, 1, UpTo::LogEnd);
        first.add(&stays, 2, UpTo::HighWatermark);
        second.add(&stays, 3, UpTo::LogEnd);
        first.add(&goes, 1, UpTo::LogEnd);
        first.tell(Event::More(UpTo::HighWatermark));
        second.tell(Event::More(UpTo::HighWatermark));
        assert_eq!(numbers(&stays), [2, 3]);
        drop(goes);
        first.tell(Event::LogStart);
        assert_eq!(first.lock().len(), 1);
        stays.take();
        first.remove(&stays);
        first.tell(Event::More(UpTo::HighWatermark));
        assert!(numbers(&stays).is_empty());
    }

    #[test]
    fn those_that_have_gone_make_room_when_another_comes() {
        let readers = Readers::default();
        for number in 0..9 {
            readers.add(&Arc::new(News::default()), number, UpTo::LogEnd);
        }
        assert_eq!(readers.lock().len(), 1);
    }
}
