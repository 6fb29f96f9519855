//! The floor under consume load: a plain loop that sends a file with `sendfile`, and the same reader as
//! [`consume`](super::consume) at its other end. No broker can be faster.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Instant;

use ottla_protocol::records::Batches;

use super::socket::{Access, Socket};
use super::{BenchError, Report};

/// Reads a segment's file over a socket so many times, in answers of `answer_bytes`.
///
/// # Errors
/// What the file and the sockets meet.
pub fn sendfile_floor(segment: &Path, answer_bytes: u64, times: u32) -> Result<Report, BenchError> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    let file = File::open(segment)?;
    let serving = std::thread::spawn(move || serve(&listener, file, answer_bytes, times));
    let mut socket = Socket::connect("127.0.0.1", port, &Access::default())?;
    let mut report = Report::default();
    let start = Instant::now();
    loop {
        let since = Instant::now();
        // As long as the shortest request header, so that it can carry a correlation id.
        socket.send(&mut [0; REQUEST_BYTES], 0)?;
        let records = socket.receive()?;
        if records.is_empty() {
            break;
        }
        report.latencies.record(since.elapsed());
        report.bytes += records.len() as u64;
        for batch in Batches::new(records).map_while(Result::ok) {
            report.records += u64::try_from(batch.header.record_count).unwrap_or(0);
        }
    }
    report.elapsed = start.elapsed();
    serving.join().map_err(|_| io::Error::other("the server's thread panicked"))??;
    Ok(report)
}

const REQUEST_BYTES: usize = 12;

fn serve(listener: &TcpListener, mut file: File, answer_bytes: u64, times: u32) -> io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let size = file.metadata()?.len();
    for _ in 0..times {
        file.seek(SeekFrom::Start(0))?;
        let mut rest = size;
        while rest > 0 {
            let length = rest.min(answer_bytes);
            answer(&mut stream, &mut file, length)?;
            rest -= length;
        }
    }
    answer(&mut stream, &mut file, 0)
}

fn answer(stream: &mut TcpStream, file: &mut File, length: u64) -> io::Result<()> {
    stream.read_exact(&mut [0; REQUEST_BYTES])?;
    let announced = u32::try_from(length).map_err(io::Error::other)?;
    stream.write_all(&announced.to_be_bytes())?;
    // On Linux this is `sendfile`.
    let sent = io::copy(&mut file.take(length), stream)?;
    if sent == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::records::{BatchBuilder, BatchOptions};

    use super::*;

    #[test]
    fn everything_in_the_file_comes_through() {
        let mut builder = BatchBuilder::default();
        (0..10).for_each(|_| builder.push(1, None, Some(&[7; 100]), &[]));
        let batch = builder.build(BatchOptions::default());
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), [&batch[..], &batch[..]].concat()).unwrap();
        let report = sendfile_floor(path.path(), batch.len() as u64, 3).unwrap();
        assert_eq!((report.records, report.bytes), (60, 6 * batch.len() as u64));
    }
}
