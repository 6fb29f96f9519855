//! Streams: SQL over topics, planned by DataFusion, run as epochs.
