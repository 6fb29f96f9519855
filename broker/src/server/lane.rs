//! The queue between the two halves of a connection's one task: what was read waits in it for its turn to be answered.
//!
//! A channel would wake the task that is running already. The runtime takes that for yielding: the task goes to the end
//! of its worker's queue and another worker is woken to take it, for every single request.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Holds at most so many items. Both ends belong to futures of one task, polled with the pushing one first.
#[derive(Debug)]
pub(super) struct Lane<T> {
    state: Mutex<State<T>>,
    items_max: usize,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    /// Of the pushing side, while there is no room.
    pushing: Option<Waker>,
}

impl<T> Lane<T> {
    pub fn new(items_max: usize) -> Lane<T> {
        Lane { state: Mutex::new(State { items: VecDeque::new(), pushing: None }), items_max }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room.
    pub async fn push(&self, item: T) {
        let mut item = Some(item);
        poll_fn(|task| {
            let mut state = self.state();
            if state.items.len() >= self.items_max {
                state.pushing = Some(task.waker().clone());
                return Poll::Pending;
            }
            state.items.extend(item.take());
            Poll::Ready(())
        })
        .await;
    }

    /// The next item. It wakes nobody to get here: whoever polls the pushing side polls this one next.
    pub async fn pop(&self) -> T {
        poll_fn(|_| {
            let mut state = self.state();
            let Some(item) = state.items.pop_front() else { return Poll::Pending };
            if let Some(pushing) = state.pushing.take() {
                pushing.wake();
            }
            Poll::Ready(item)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn items_come_out_in_order_though_few_fit() {
        let lane = Lane::new(2);
        let pushing = async {
            for item in 0..100 {
                lane.push(item).await;
            }
            std::future::pending::<()>().await;
        };
        let popping = async {
            for item in 0..100 {
                assert_eq!(lane.pop().await, item);
                if item % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        };
        tokio::select! {
            biased;
            () = pushing => unreachable!("it waits for ever"),
            () = popping => {}
        }
        assert!(lane.state().items.is_empty());
    }
}
