//! One connection to one broker: pipelined requests, answers matched in order, timeouts, version negotiation.
//!
//! The owner task holds the frame channels and the queue of awaited answers; handles send it commands. Answers come
//! in the order of the requests (Kafka promises that), so an answer with another correlation id ends the connection.
//! A request that is not answered in time does too: what follows it on the same connection would wait as well.
//!
//! Where the broker asks who the client is, that is shown before the first request of anybody, and again before the
//! session ends (KIP-368). A broker takes nothing else amid that exchange, so commands wait until it is over.

use std::collections::VecDeque;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use ottla_protocol::messages::ApiVersionsRequest;
use ottla_protocol::{ApiKey, ErrorCode, Message, Request, RequestHeader, Str, frame};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{debug, trace};

use crate::error::ClientError;
use crate::security::{SaslChannel, SaslSettings, authenticate, refusal, renewal_pause};
use crate::transport::FrameConnection;
use crate::versions::BrokerVersions;

/// How long the reason why a connection ended may take to come after its end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a handle asks of the owner task.
enum Command {
    /// Sends a frame; without `awaited` no answer will come (Produce with acks 0).
    Send { frame: Bytes, awaited: Option<Awaited> },
    /// Shows who the client is again, in time.
    Renew(Renewal),
}

/// What has to be done before a session ends.
struct Renewal {
    at: Instant,
    settings: Arc<SaslSettings>,
    shared: Arc<Shared>,
    timeout: Duration,
}

/// An answer that is to come.
struct Awaited {
    correlation_id: i32,
    api: ApiKey,
    sent_at: Instant,
    deadline: Instant,
    reply: oneshot::Sender<Result<Bytes, ClientError>>,
}

/// A cheap handle on an open connection. The connection closes when all handles and awaited answers are gone.
#[derive(Clone)]
pub(crate) struct Connection {
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
}

struct Shared {
    address: Arc<str>,
    client_id: Str,
    next_correlation_id: AtomicI32,
    versions: BrokerVersions,
}

impl Connection {
    /// Takes an open frame connection, asks the broker which versions it serves, and shows who the client is.
    pub(crate) async fn open(
        frames: FrameConnection,
        address: Arc<str>,
        client_id: Str,
        timeout: Duration,
    ) -> Result<Connection, ClientError> {
        let sasl = frames.sasl.clone();
        let (commands, inbox) = mpsc::unbounded_channel();
        tokio::spawn(run(frames, inbox, address.clone()));
        let shared = Arc::new(Shared {
            address: address.clone(),
            client_id: client_id.clone(),
            next_correlation_id: AtomicI32::new(0),
            versions: BrokerVersions::unknown(),
        });
        let greeting = Connection { commands: commands.clone(), shared };
        let versions = greeting.negotiate(timeout).await?;
        let next_correlation_id = AtomicI32::new(greeting.shared.next_correlation_id.load(Ordering::Relaxed));
        let shared = Arc::new(Shared { address, client_id, next_correlation_id, versions });
        let connection = Connection { commands, shared };
        if let Some(settings) = sasl
            && let Some(lifetime) = authenticate((&connection, timeout), &settings).await?
        {
            let at = Instant::now() + renewal_pause(lifetime);
            let renewal = Renewal { at, settings, shared: connection.shared.clone(), timeout };
            connection.commands.send(Command::Renew(renewal)).map_err(|_| connection.lost())?;
        }
        Ok(connection)
    }

    /// The level of a feature of the cluster when the connection was opened; 0 where there is none.
    pub(crate) fn feature(&self, name: &str) -> i16 {
        self.shared.versions.feature(name)
    }

    /// Whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    /// The newest version of `R` that both sides speak, but not above `cap`.
    pub(crate) fn version_of<R: Request>(&self, cap: i16) -> Result<i16, ClientError> {
        self.shared.versions.choose::<R>(cap, &self.shared.address)
    }

    /// Queues a request at once and in call order; the answer is awaited apart.
    pub(crate) fn submit<R: Request>(
        &self,
        request: &R,
        version: i16,
        timeout: Duration,
    ) -> Result<Pending<R>, ClientError> {
        let (correlation_id, frame) = self.frame(request, version)?;
        let (reply, answer) = oneshot::channel();
        let sent_at = Instant::now();
        let deadline = sent_at + timeout;
        let awaited = Awaited { correlation_id, api: R::API_KEY, sent_at, deadline, reply };
        let command = Command::Send { frame, awaited: Some(awaited) };
        self.commands.send(command).map_err(|_| self.lost())?;
        Ok(Pending { answer, version, address: self.shared.address.clone(), request: PhantomData })
    }

    /// Queues a request that is never answered.
    pub(crate) fn submit_unanswered<R: Request>(&self, request: &R, version: i16) -> Result<(), ClientError> {
        let (_, frame) = self.frame(request, version)?;
        self.commands.send(Command::Send { frame, awaited: None }).map_err(|_| self.lost())
    }

    /// Sends a request in the newest common version and waits for the answer.
    pub(crate) async fn send<R: Request>(
        &self,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, ClientError> {
        let version = self.version_of::<R>(i16::MAX)?;
        self.submit(request, version, timeout)?.await
    }

    fn frame<R: Request>(&self, request: &R, version: i16) -> Result<(i32, Bytes), ClientError> {
        let correlation_id = self.shared.next_correlation_id.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let header = RequestHeader {
            api_key: R::API_KEY,
            api_version: version,
            correlation_id,
            client_id: Some(self.shared.client_id.clone()),
        };
        let frame = frame::encode_request(&header, request).map_err(|reason| ClientError::BadRequest {
            address: self.shared.address.to_string(),
            api: R::API_KEY,
            reason,
        })?;
        trace!(address = %self.shared.address, api = %R::API_KEY, version, correlation_id, bytes = frame.len());
        Ok((correlation_id, frame.slice(frame::LENGTH_BYTES..)))
    }

    fn lost(&self) -> ClientError {
        ClientError::Disconnected { address: self.shared.address.to_string(), reason: "it was closed" }
    }

    /// Asks for the versions in the newest form; a broker that does not know it answers error 35 in version 0
    /// (KIP-511), and then it is asked in version 0.
    async fn negotiate(&self, timeout: Duration) -> Result<BrokerVersions, ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: "ottla".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        };
        let newest = ApiVersionsRequest::VERSIONS.1;
        let answer = self.submit(&request, newest, timeout)?.raw().await?;
        // After the correlation id, which is the whole header here, comes the error code in every version.
        let unsupported = ErrorCode::UnsupportedVersion.code().to_be_bytes();
        let response = if answer.get(4..6) == Some(&unsupported[..]) {
            self.submit(&ApiVersionsRequest::default(), 0, timeout)?.await?
        } else {
            decode::<ApiVersionsRequest>(answer, newest, &self.shared.address)?
        };
        crate::error::check(response.error_code, || {
            format!("asking {} for its versions", self.shared.address)
        })?;
        Ok(BrokerVersions::from_response(&response))
    }
}

/// A connection, and how long an answer may take.
impl SaslChannel for (&Connection, Duration) {
    fn address(&self) -> &str {
        &self.0.shared.address
    }

    async fn call<R: Request<Response: Send> + Send>(
        &mut self,
        version_max: i16,
        request: R,
    ) -> Result<(i16, R::Response), ClientError> {
        let (connection, timeout) = *self;
        let version = connection.version_of::<R>(version_max)?;
        let answer = connection.submit(&request, version, timeout)?;
        Ok((version, answer.await?))
    }
}

/// An answer on its way. Dropping it does not take the request back.
pub(crate) struct Pending<R> {
    answer: oneshot::Receiver<Result<Bytes, ClientError>>,
    version: i16,
    address: Arc<str>,
    request: PhantomData<fn() -> R>,
}

impl<R: Request> Pending<R> {
    /// The frame of the answer, undecoded.
    async fn raw(self) -> Result<Bytes, ClientError> {
        self.answer.await.unwrap_or_else(|_| {
            Err(ClientError::Disconnected { address: self.address.to_string(), reason: "it was closed" })
        })
    }
}

impl<R: Request> Future for Pending<R> {
    type Output = Result<R::Response, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match ready!(Pin::new(&mut self.answer).poll(context)) {
            Ok(answer) => answer,
            Err(_) => {
                Err(ClientError::Disconnected { address: self.address.to_string(), reason: "it was closed" })
            }
        };
        Poll::Ready(answer.and_then(|frame| decode::<R>(frame, self.version, &self.address)))
    }
}

fn decode<R: Request>(frame: Bytes, version: i16, address: &str) -> Result<R::Response, ClientError> {
    match frame::decode_response::<R>(frame, version) {
        Ok((_, response)) => Ok(response),
        Err(reason) => Err(ClientError::BadResponse { address: address.to_owned(), api: R::API_KEY, reason }),
    }
}

/// The owner task.
async fn run(frames: FrameConnection, mut commands: mpsc::UnboundedReceiver<Command>, address: Arc<str>) {
    let FrameConnection { requests, mut responses, failure, .. } = frames;
    let mut outgoing: VecDeque<Bytes> = VecDeque::new();
    let mut awaited: VecDeque<Awaited> = VecDeque::new();
    let mut has_handles = true;
    let lost = |reason| ClientError::Disconnected { address: address.to_string(), reason };
    // A broker that wants no connection without a certificate says so in what would have been its first answer.
    let ended = || match failure.get().and_then(refusal) {
        Some(reason @ rustls::Error::AlertReceived(_)) => {
            ClientError::Tls { address: address.to_string(), reason: reason.to_string() }
        }
        _ => lost("the broker closed it"),
    };
    let mut renewal: Option<Renewal> = None;
    let mut renewing: Option<BoxFuture<'static, Result<Option<Duration>, ClientError>>> = None;
    // What the renewal sends.
    let (urgent, mut urgent_inbox) = mpsc::unbounded_channel();
    let end = loop {
        if !has_handles && awaited.is_empty() && outgoing.is_empty() {
            return;
        }
        let deadline = awaited.iter().map(|each| each.deadline).min();
        let renew_at = renewal.as_ref().map(|renewal| renewal.at);
        tokio::select! {
            command = commands.recv(), if has_handles && renewing.is_none() => match command {
                Some(Command::Send { frame, awaited: answer }) => {
                    outgoing.push_back(frame);
                    awaited.extend(answer);
                }
                Some(Command::Renew(next)) => renewal = Some(next),
                None => has_handles = false,
            },
            Some(command) = urgent_inbox.recv() => if let Command::Send { frame, awaited: answer } = command {
                outgoing.push_back(frame);
                awaited.extend(answer);
            },
            () = tokio::time::sleep_until(renew_at.unwrap_or_else(Instant::now)),
                if renew_at.is_some() && renewing.is_none() && has_handles =>
            {
                if let Some(Renewal { settings, shared, timeout, .. }) = &renewal {
                    let (settings, timeout) = (settings.clone(), *timeout);
                    let connection = Connection { commands: urgent.clone(), shared: shared.clone() };
                    renewing = Some(Box::pin(async move { authenticate((&connection, timeout), &settings).await }));
                }
            }
            renewed = async { match &mut renewing {
                Some(renewing) => renewing.await,
                None => std::future::pending().await,
            } } => {
                renewing = None;
                match renewed {
                    Ok(lifetime) => {
                        debug!(%address, ?lifetime, "session renewed");
                        renewal = renewal.zip(lifetime).map(|(renewal, lifetime)| Renewal {
                            at: Instant::now() + renewal_pause(lifetime),
                            ..renewal
                        });
                    }
                    Err(error) => break error,
                }
            }
            permit = requests.reserve(), if !outgoing.is_empty() => match permit {
                Ok(permit) => {
                    if let Some(frame) = outgoing.pop_front() {
                        permit.send(frame);
                    }
                }
                Err(_) => {
                    // Why it closed may still be on its way here.
                    let _ = tokio::time::timeout(LAST_WORDS, responses.recv()).await;
                    break ended();
                }
            },
            frame = responses.recv() => {
                let Some(frame) = frame else { break ended() };
                let correlation_id = frame.get(..4).and_then(|id| id.try_into().ok()).map(i32::from_be_bytes);
                match awaited.pop_front() {
                    Some(answer) if correlation_id == Some(answer.correlation_id) => {
                        // Nobody may want the answer any more, which is fine.
                        let _ = answer.reply.send(Ok(frame));
                    }
                    other => {
                        awaited.extend(other);
                        break lost("an answer came out of order");
                    }
                }
            }
            () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                let late = awaited.iter().find(|each| Some(each.deadline) == deadline);
                break match late {
                    Some(late) => ClientError::RequestTimeout {
                        address: address.to_string(),
                        api: late.api,
                        waited: late.sent_at.elapsed(),
                    },
                    None => lost("an answer was late"),
                };
            }
        }
    };
    // Closing first makes handles see the end before any of the failed requests is tried again.
    commands.close();
    while let Ok(command) = commands.try_recv() {
        if let Command::Send { awaited: answer, .. } = command {
            awaited.extend(answer);
        }
    }
    for answer in awaited {
        let _ = answer.reply.send(Err(end.clone()));
    }
}
