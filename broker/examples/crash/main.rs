//! Crashes a server under load, over and over, and holds what it promised against what is there afterwards:
//! `cargo run --release -p ottla-broker --example crash -- [--cycles N] [--dir DIR] [--server COMMAND]
//! [--log-dirs NAME,NAME…] [--power-off COMMAND --power-on COMMAND] [--faulty COMMAND]`.
//!
//! Idempotent producers on connections of their own send numbered records with `acks=all` and never stop; a reader
//! follows. At a random moment the server is killed, or stopped, or loses its disk's power, and is started again on the
//! same data. After every start each acknowledged record must be where it was said to be, once and in its producer's
//! order; what was read once must read the same; topics that were made and offsets that were committed must be there.
//!
//! A faulty server is another command for the same server under which its disk fails; every other cycle is one of its
//! own. It may end at any moment, or refuse records for as long as it lives; what it acknowledged all the same must be
//! there for the next one.
//!
//! With several log dirs the partitions are on their way from one to another all the time.
//!
//! The server is any command: `{dir}` and `{listen}` in it are replaced, and it prints a line with `kafka=ADDRESS` when it
//! serves. `tests/crash/` has the commands for whole runs. `OTTLA_SEED` repeats the moments of a run.

mod ledger;
mod load;
mod reader;
mod server;
mod stamp;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ottla_client::{Client, ClientConfig, NewTopic, TopicPartition};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use ledger::Ledger;
use load::Load;
use reader::Reader;
use server::{Commands, Server};

const BROKER: i32 = 1;
const TOPIC: &str = "crashed";
const PARTITIONS: i32 = 4;
const PRODUCERS: u32 = 3;
/// So small that every few cycles have a crash close to the birth of a segment.
const SEGMENT_BYTES: &str = "200000";
/// The longest that a server may take to serve, and what it has to be read again.
const PATIENCE: Duration = Duration::from_secs(60);
/// Every record is read again after so many cycles, and at the end; else only the last ones are.
const CYCLES_PER_WHOLE_READ: u32 = 20;

/// When and how a server comes to its end.
#[derive(Debug, Clone, Copy)]
enum End {
    /// Before it serves.
    KilledWhileStarting,
    /// Soon after it serves, whatever has been checked by then.
    KilledUnchecked,
    /// Some time after everything was checked.
    Killed,
    /// Then too, but as Ctrl-C does it.
    Stopped,
}

impl End {
    /// With how long it takes from the moment that the kind names.
    fn random(random: &mut StdRng) -> (End, Duration) {
        let (end, after_us_max) = match random.random_range(0..16) {
            0..=1 => (End::KilledWhileStarting, 30_000),
            2..=4 => (End::KilledUnchecked, 100_000),
            5 => (End::Stopped, 200_000),
            _ => (End::Killed, 300_000),
        };
        (end, Duration::from_micros(random.random_range(0..after_us_max)))
    }
}

struct Arguments {
    cycles: u32,
    commands: Commands,
}

fn arguments() -> Result<Arguments> {
    let mut arguments = Arguments { cycles: 20, commands: Commands::new()? };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--cycles" => arguments.cycles = value.parse()?,
            "--dir" => arguments.commands.dir = PathBuf::from(value),
            "--log-dirs" => arguments.commands.spread(&value)?,
            "--server" => arguments.commands.server = value,
            "--power-off" => arguments.commands.power_off = Some(value),
            "--faulty" => arguments.commands.faulty = Some(value),
            "--power-on" => arguments.commands.power_on = Some(value),
            _ => bail!("unknown argument {word}"),
        }
    }
    Ok(arguments)
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { cycles, commands } = arguments()?;
    let seed: u64 = match std::env::var("OTTLA_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => rand::random(),
    };
    println!("crashes with OTTLA_SEED={seed}");
    let began = Instant::now();
    let mut run = Run::begin(commands, StdRng::seed_from_u64(seed)).await?;
    for cycle in 1..=cycles {
        let (end, after) = End::random(&mut run.random);
        let what = || format!("cycle {cycle}, {end:?} after {after:?}, OTTLA_SEED={seed}");
        run.cycle(cycle, end, after).await.with_context(what)?;
    }
    run.finish().await.with_context(|| format!("at the end, OTTLA_SEED={seed}"))?;
    println!("{cycles} cycles in {:.1} s: {}", began.elapsed().as_secs_f64(), run.report());
    Ok(())
}

struct Run {
    commands: Commands,
    random: StdRng,
    client: Client,
    ledger: Arc<Mutex<Ledger>>,
    load: Load,
    topics_made: Vec<String>,
    offset_committed: i64,
    starts: Vec<Duration>,
    /// Faulty servers that ended by themselves.
    faults_fatal: u32,
    /// That were asked for.
    moves: u32,
}

impl Run {
    async fn begin(mut commands: Commands, random: StdRng) -> Result<Run> {
        let mut server = Server::start(&commands)?;
        let address = server.ready(PATIENCE).await?;
        // The same port ever after: the clients come back to it.
        commands.listen = address.clone();
        let client = Client::connect(client_config(&address)).await?;
        let topic = NewTopic::new(TOPIC, PARTITIONS).with_config("internal.segment.bytes", SEGMENT_BYTES);
        client.admin().create_topics(&[topic]).await?;
        let ledger = Arc::new(Mutex::new(Ledger::new(PARTITIONS)));
        let load = Load::start(&address, PRODUCERS, ledger.clone()).await?;
        server.crash(&commands)?;
        let (topics_made, starts) = (Vec::new(), Vec::new());
        Ok(Run {
            commands,
            random,
            client,
            ledger,
            load,
            topics_made,
            offset_committed: 0,
            starts,
            faults_fatal: 0,
            moves: 0,
        })
    }

    async fn cycle(&mut self, cycle: u32, end: End, after: Duration) -> Result<()> {
        self.load.check()?;
        if self.commands.faulty.is_some() && cycle % 2 == 1 {
            return self.faulty_cycle().await;
        }
        let mut server = Server::start(&self.commands)?;
        if !matches!(end, End::KilledWhileStarting) {
            server.ready(PATIENCE).await?;
            self.starts.push(server.age());
            self.move_partitions().await?;
        }
        match end {
            End::KilledWhileStarting | End::KilledUnchecked => tokio::time::sleep(after).await,
            End::Killed | End::Stopped => {
                let mut reader = self.checked_reader(cycle.is_multiple_of(CYCLES_PER_WHOLE_READ)).await?;
                self.check_cluster().await?;
                self.change_cluster(cycle).await?;
                self.move_partitions().await?;
                reader.follow(after).await?;
                server.check_running()?;
            }
        }
        match end {
            End::Stopped => server.stop(&self.commands).await,
            _ => server.crash(&self.commands),
        }
    }

    /// Lets a server whose disk fails do what it can.
    async fn faulty_cycle(&mut self) -> Result<()> {
        let fails_at = self.random.random_range(1..20);
        let mut server = Server::start_faulty(&self.commands, fails_at)?;
        let deadline = Instant::now() + Duration::from_millis(self.random.random_range(400..1500));
        while Instant::now() < deadline && !server.has_ended()? {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.faults_fatal += u32::from(server.has_ended()?);
        server.crash(&self.commands)
    }

    /// Reads up to the end as it is now; everything must be as it was and was said to be.
    async fn checked_reader(&mut self, whole: bool) -> Result<Reader> {
        let mut reader = Reader::new(&self.client, self.ledger.clone(), whole, &mut self.random).await?;
        reader.read_to_end(PATIENCE).await?;
        Ok(reader)
    }

    /// What was done to the cluster, and answered, before earlier crashes.
    async fn check_cluster(&self) -> Result<()> {
        for topic in &self.topics_made {
            if !self.client.admin().topic_exists(topic).await? {
                bail!("topic {topic} was made and is gone");
            }
        }
        let committed = reader::committed(&self.client).await?;
        if committed < self.offset_committed {
            bail!("offset {} was committed, {committed} is there", self.offset_committed);
        }
        Ok(())
    }

    /// Sends every partition to some log dir, where there are several.
    async fn move_partitions(&mut self) -> Result<()> {
        if self.commands.log_dirs.is_empty() {
            return Ok(());
        }
        for number in 0..PARTITIONS {
            let log_dir = self.random.random_range(0..self.commands.log_dirs.len());
            let path = self.commands.dir.join(&self.commands.log_dirs[log_dir]).display().to_string();
            let replica = TopicPartition::new(TOPIC, number);
            self.client.admin().move_replica(BROKER, &replica, &path).await?;
            self.moves += 1;
        }
        Ok(())
    }

    async fn change_cluster(&mut self, cycle: u32) -> Result<()> {
        if cycle.is_multiple_of(5) {
            let topic = format!("made-{cycle}");
            self.client.admin().create_topics(&[NewTopic::new(topic.as_str(), 1)]).await?;
            self.topics_made.push(topic);
        }
        reader::commit(&self.client, i64::from(cycle)).await?;
        self.offset_committed = i64::from(cycle);
        Ok(())
    }

    /// Lets the producers come to rest; every record that they ever sent must be there then.
    async fn finish(&mut self) -> Result<()> {
        let mut server = Server::start(&self.commands)?;
        server.ready(PATIENCE).await?;
        self.load.stop(PATIENCE).await?;
        self.checked_reader(true).await?;
        self.check_cluster().await?;
        self.ledger.lock().expect("nobody panics").check_complete()?;
        server.stop(&self.commands).await
    }

    fn report(&mut self) -> String {
        self.starts.sort();
        let slowest = self.starts.last().copied().unwrap_or_default();
        let median = self.starts.get(self.starts.len() / 2).copied().unwrap_or_default();
        let faults = match self.commands.faulty {
            Some(_) => format!("; {} servers ended by themselves", self.faults_fatal),
            None => String::new(),
        };
        let moves = match self.moves {
            0 => String::new(),
            moves => format!("; {moves} moves between log dirs"),
        };
        format!(
            "{}; ready after {:.0} ms (median), {:.0} ms (slowest){faults}{moves}",
            self.ledger.lock().expect("nobody panics").report(),
            median.as_secs_f64() * 1e3,
            slowest.as_secs_f64() * 1e3
        )
    }
}

/// Comes back quickly to a server that was away.
fn client_config(address: &str) -> ClientConfig {
    ClientConfig {
        bootstrap_servers: vec![address.to_owned()],
        client_id: "crash".to_owned(),
        request_timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(5),
        retry_backoff: Duration::from_millis(5),
        retry_backoff_max: Duration::from_millis(40),
        ..ClientConfig::default()
    }
}
