//! Connect: workers, tasks, offsets and connectors.
