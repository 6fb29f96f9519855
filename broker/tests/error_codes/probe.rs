//! A connection that notes what is answered, one line a case with the versions that answer alike.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use ottla_protocol::ErrorCode;
use ottla_protocol::wire::Request;

use crate::wire::Wire;

pub struct Probe {
    address: SocketAddr,
    wire: Wire,
    lines: Vec<String>,
    names: u32,
}

/// The names of codes, in a row.
pub fn names(codes: impl IntoIterator<Item = i16>) -> String {
    codes.into_iter().map(|code| ErrorCode::from_code(code).name()).collect::<Vec<_>>().join(" ")
}

impl Probe {
    pub async fn connect(address: SocketAddr) -> Probe {
        Probe { address, wire: Wire::connect(address).await, lines: Vec::new(), names: 0 }
    }

    /// Another connection, for what would wait on this one.
    pub async fn another(&self) -> Wire {
        Wire::connect(self.address).await
    }

    pub async fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.wire.call(version, request).await
    }

    /// A name that was not used before.
    pub fn fresh(&mut self, what: &str) -> String {
        self.names += 1;
        format!("{what}-{}", self.names)
    }

    /// Asks in every version and notes what each says.
    pub async fn each(
        &mut self,
        case: &str,
        versions: RangeInclusive<i16>,
        mut ask: impl AsyncFnMut(&mut Probe, i16) -> String,
    ) {
        let mut alike: Vec<(i16, i16, String)> = Vec::new();
        for version in versions {
            let said = ask(self, version).await;
            match alike.last_mut() {
                Some((_, last, same)) if *same == said => *last = version,
                _ => alike.push((version, version, said)),
            }
        }
        let alike = alike.iter().map(|(first, last, said)| match first == last {
            true => format!("v{first} {said}"),
            false => format!("v{first}-{last} {said}"),
        });
        self.lines.push(format!("{case}: {}", alike.collect::<Vec<_>>().join(", ")));
    }

    pub fn into_lines(self) -> Vec<String> {
        self.lines
    }
}

/// Asks again while the answer is one that passes by itself.
pub async fn settled(mut ask: impl AsyncFnMut() -> i16) -> i16 {
    let passing = [
        ErrorCode::ConcurrentTransactions,
        ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotCoordinator,
        ErrorCode::NotEnoughReplicas,
    ];
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let code = ask().await;
        if !passing.contains(&ErrorCode::from_code(code)) || Instant::now() > deadline {
            return code;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
