//! Record bytes to and from Arrow batches: CSV and JSON.
