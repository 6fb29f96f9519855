//! Pipelines: the declarative file, its validation, and running it.
