//! The HTTP API: so far `/health`, for load balancers and scripts.

use std::net::SocketAddr;

use axum::{Json, Router, routing::get};
use serde_json::json;
use tokio::net::TcpListener;

use crate::failure::Failure;

/// A bound HTTP server.
pub struct Http {
    listener: TcpListener,
    address: SocketAddr,
}

impl Http {
    /// Binds the address.
    pub async fn bind(address: SocketAddr) -> Result<Http, Failure> {
        let refused = |error: std::io::Error| {
            Failure::failed(format!(
                "cannot listen on {address}: {error}; stop what uses it, or choose another with --http-listen (port 0 takes a free one)"
            ))
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Http { listener, address })
    }

    /// With the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the process ends.
    pub async fn run(self) {
        let router = Router::new().route("/health", get(|| async { Json(json!({ "status": "ok" })) }));
        if let Err(error) = axum::serve(self.listener, router).await {
            tracing::error!(%error, "the HTTP API stopped");
        }
    }
}
