//! Memory, files and processor time of the process, under the names that Prometheus' own libraries use.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Reads the kernel's word of this process. Where there is no `/proc`, nothing is told.
#[derive(Debug)]
pub(super) struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let bytes = [
            ("process_resident_memory", "Bytes of memory that is resident", resident_bytes()),
            ("process_anonymous_memory", "Resident bytes that are not pages of files", anonymous_bytes()),
        ];
        for (name, help, value) in bytes {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(
                name,
                help,
                Some(&Unit::Bytes),
                gauge.metric_type(),
            )?)?;
        }
        let files = [
            ("process_open_fds", "Open file descriptors", open_files()),
            ("process_max_fds", "File descriptors that may be open", open_files_max()),
        ];
        for (name, help, value) in files {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        if let Some(seconds) = cpu_seconds() {
            let (counter, help) = (ConstCounter::new(seconds), "Processor time, user and system");
            let unit = Some(&Unit::Seconds);
            counter.encode(encoder.encode_descriptor("process_cpu", help, unit, counter.metric_type())?)?;
        }
        Ok(())
    }
}

/// A line of `/proc/self/status`, which gives memory in KiB whatever the size of a page.
fn status_bytes(field: &str) -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1024))
}

fn resident_bytes() -> Option<i64> {
    status_bytes("VmRSS")
}

fn anonymous_bytes() -> Option<i64> {
    status_bytes("RssAnon")
}

fn open_files() -> Option<i64> {
    // The directory itself is open while it is read.
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    i64::try_from(open).ok()
}

fn open_files_max() -> Option<i64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    i64::try_from(limit).ok()
}

/// In the kernel's interface a second always has this many ticks.
const TICKS_PER_SECOND: f64 = 100.0;

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_process_knows_itself() {
        assert!(resident_bytes().unwrap() > anonymous_bytes().unwrap());
        assert!((3..open_files_max().unwrap()).contains(&open_files().unwrap()));
        let before = cpu_seconds().unwrap();
        while cpu_seconds().unwrap() == before {
            std::hint::black_box((0..100_000u64).sum::<u64>());
        }
    }
}
