//! What one request takes of its sender's quotas, and how long the sender has to wait for having taken more.
//!
//! Only clients that may have a quota are metered: where none is set, and for parts of this process, nothing is measured.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_protocol::ApiKey;
use ottla_protocol::frame::RequestHeader;
use ottla_protocol::wire::{Request, Str};

use super::context::Context;
use super::peer::Peer;
use crate::controller::ClientQuotas;
use crate::quotas::QuotaType;

/// See the module.
pub(super) struct Meter {
    context: Arc<Context>,
    peer: Peer,
    quotas: Arc<ClientQuotas>,
    user: String,
    client_id: Str,
    api: ApiKey,
    frame_bytes: usize,
    /// At work for the request so far.
    worked: Duration,
}

impl Meter {
    /// For a request whose sender may have quotas.
    pub fn of(
        context: &Arc<Context>,
        peer: &Peer,
        header: &RequestHeader,
        frame_bytes: usize,
    ) -> Option<Meter> {
        let image = context.image();
        let quotas = image.client_quotas();
        if quotas.is_empty() {
            return None;
        }
        let principal = peer.principal();
        if principal.is_internal() {
            return None;
        }
        Some(Meter {
            context: context.clone(),
            peer: peer.clone(),
            quotas: quotas.clone(),
            user: principal.name().to_owned(),
            client_id: header.client_id.as_ref().map(Str::detached).unwrap_or_default(),
            api: header.api_key,
            frame_bytes,
            worked: Duration::ZERO,
        })
    }

    /// Waits for a handler; with a meter, the time that it is at work is measured.
    pub async fn over<T>(meter: Option<Meter>, handler: impl Future<Output = T>) -> (T, Option<Meter>) {
        let Some(mut meter) = meter else { return (handler.await, None) };
        let mut handler = pin!(handler);
        let worked = &mut meter.worked;
        let done = poll_fn(|task| {
            let since = Instant::now();
            let polled = handler.as_mut().poll(task);
            *worked += since.elapsed();
            polled
        });
        (done.await, Some(meter))
    }

    /// Charges for a reply of so many bytes; gives whether the reply now tells its receiver to wait.
    pub fn charge<R: Request>(self, reply: &mut R::Response, reply_bytes: usize) -> bool {
        let wait = self.wait(reply_bytes);
        if !wait.is_zero() {
            R::throttle(reply, i32::try_from(wait.as_millis()).unwrap_or(i32::MAX));
        }
        !wait.is_zero()
    }

    /// Charges for a reply, or for the lack of one.
    pub fn charge_optional<R: Request>(self, reply: Option<&mut R::Response>) {
        match reply {
            Some(reply) => {
                self.charge::<R>(reply, 0);
            }
            None => {
                self.wait(0);
            }
        }
    }

    /// Charges for a request that another node has handled; gives how long the sender has to wait, milliseconds.
    pub fn charge_forwarded(self) -> i32 {
        i32::try_from(self.wait(0).as_millis()).unwrap_or(i32::MAX)
    }

    /// How long the sender has to wait. It is not read from for as long.
    fn wait(&self, reply_bytes: usize) -> Duration {
        let now = Instant::now();
        let take = |quota_type, amount| {
            let client = (&*self.user, &*self.client_id);
            self.context.quotas.take(&self.quotas, quota_type, client, amount, now)
        };
        let of_bytes = match self.api {
            ApiKey::Produce => take(QuotaType::Produce, self.frame_bytes as f64),
            ApiKey::Fetch => take(QuotaType::Fetch, reply_bytes as f64),
            _ => Duration::ZERO,
        };
        // A share of one processor's time, in percent.
        let of_time = take(QuotaType::Request, self.worked.as_secs_f64() * 100.0);
        let wait = of_bytes.max(of_time);
        if !wait.is_zero() {
            self.context.metrics.throttled.inc();
            self.peer.mute_until(now + wait);
        }
        wait
    }
}
