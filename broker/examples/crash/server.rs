//! The server under test as a process of its own, and how it is made to fail.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long a stop may take.
const STOP_TIME_MAX: Duration = Duration::from_secs(30);

/// What is run.
pub struct Commands {
    /// Starts the server; `{dir}` and `{listen}` are replaced.
    pub server: String,
    pub dir: PathBuf,
    /// Folders of `dir` that partitions are moved among, where there are several.
    pub log_dirs: Vec<String>,
    pub listen: String,
    /// Starts it with a disk that fails; `{n}` is the count of the operation from which on it does.
    pub faulty: Option<String>,
    /// Takes the power from the disk, while the server writes to it.
    pub power_off: Option<String>,
    /// Gives it back once the server is gone.
    pub power_on: Option<String>,
    /// Holds `dir` where none was named.
    _temporary: tempfile::TempDir,
}

impl Commands {
    /// The light server beside this program, in a new directory.
    pub fn new() -> Result<Commands> {
        let temporary = tempfile::tempdir()?;
        let serve = std::env::current_exe()?.with_file_name("serve");
        Ok(Commands {
            server: format!("{} {{dir}} {{listen}}", serve.display()),
            dir: temporary.path().join("data"),
            log_dirs: Vec::new(),
            listen: "127.0.0.1:0".to_owned(),
            faulty: None,
            power_off: None,
            power_on: None,
            _temporary: temporary,
        })
    }

    /// The light server with several log dirs, named with commas.
    pub fn spread(&mut self, names: &str) -> Result<()> {
        self.log_dirs = names.split(',').map(str::to_owned).collect();
        let dirs: Vec<String> = self.log_dirs.iter().map(|name| format!("{{dir}}/{name}")).collect();
        let first = dirs.first().context("--log-dirs names none")?;
        let serve = std::env::current_exe()?.with_file_name("serve");
        self.server = format!("{} {first} {{listen}} log.dirs={}", serve.display(), dirs.join(","));
        Ok(())
    }

    fn run(command: &Option<String>) -> Result<()> {
        let Some(command) = command else { return Ok(()) };
        let status = Command::new("sh").arg("-c").arg(command).status()?;
        ensure!(status.success(), "{command}: {status}");
        Ok(())
    }
}

pub struct Server {
    child: Child,
    started: Instant,
    /// How long it took to serve.
    age: Duration,
}

impl Server {
    pub fn start(commands: &Commands) -> Result<Server> {
        Server::run(commands, &commands.server)
    }

    /// As [`start`](Server::start), where there is a command for a faulty one.
    pub fn start_faulty(commands: &Commands, fails_at: u32) -> Result<Server> {
        let faulty = commands.faulty.as_deref().context("there is no faulty server")?;
        Server::run(commands, &faulty.replace("{n}", &fails_at.to_string()))
    }

    fn run(commands: &Commands, command: &str) -> Result<Server> {
        let dir = commands.dir.display().to_string();
        let line = command.replace("{dir}", &dir).replace("{listen}", &commands.listen);
        let mut words = line.split_whitespace();
        let program = words.next().context("--server is empty")?;
        let child = Command::new(program)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // A group of its own, to be killed with whatever it started.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {line}"))?;
        Ok(Server { child, started: Instant::now(), age: Duration::ZERO })
    }

    /// Waits for the ready line; gives the address.
    pub async fn ready(&mut self, patience: Duration) -> Result<String> {
        let out = self.child.stdout.take().context("the ready line was read already")?;
        let (found, address) = oneshot::channel();
        std::thread::spawn(move || {
            let mut found = Some(found);
            // To the end: what it prints later goes nowhere, and must not make it wait.
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let address = line.split_whitespace().find_map(|word| word.strip_prefix("kafka="));
                if let (Some(address), Some(found)) = (address, found.take_if(|_| address.is_some())) {
                    let _ = found.send(address.to_owned());
                }
            }
        });
        let address = timeout(patience, address).await.context("the server does not come up")?;
        let address = address.context("the server ended before it served")?;
        self.age = self.started.elapsed();
        Ok(address)
    }

    /// How long it took to serve.
    pub fn age(&self) -> Duration {
        self.age
    }

    fn kill(&mut self) {
        // It may have ended already: without a disk it must.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Lets no thread of it do anything but end the system call that it is in. A machine without power acknowledges
    /// nothing either; a file system that is shut down under a sync may let the sync succeed although the disk has
    /// nothing.
    fn freeze(&mut self) -> Result<()> {
        let id = self.child.id();
        let group = i32::try_from(id).ok().and_then(Pid::from_raw).context("the server is gone")?;
        kill_process_group(group, Signal::STOP)?;
        let deadline = Instant::now() + STOP_TIME_MAX;
        while !is_frozen(id)? {
            ensure!(Instant::now() < deadline, "the server cannot be frozen");
            std::thread::yield_now();
        }
        Ok(())
    }

    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    pub fn check_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the server ended by itself: {status}"),
            None => Ok(()),
        }
    }

    /// Kills it; where there is a switch, its disk loses power first.
    pub fn crash(mut self, commands: &Commands) -> Result<()> {
        if commands.power_off.is_some() {
            self.freeze()?;
            Commands::run(&commands.power_off)?;
        }
        self.kill();
        self.child.wait()?;
        // Where the child only traced the server, that may take a moment longer to go.
        let deadline = Instant::now() + STOP_TIME_MAX;
        while std::net::TcpStream::connect(&commands.listen).is_ok() {
            ensure!(Instant::now() < deadline, "the server cannot be killed");
            std::thread::sleep(Duration::from_millis(2));
        }
        Commands::run(&commands.power_on)
    }

    /// Stops it in good order; the power goes afterwards.
    pub async fn stop(mut self, commands: &Commands) -> Result<()> {
        let pid =
            i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("the server is gone")?;
        kill_process(pid, Signal::INT)?;
        let deadline = Instant::now() + STOP_TIME_MAX;
        let status: ExitStatus = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(Instant::now() < deadline, "the server does not stop");
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        ensure!(status.success(), "the server stopped with {status}");
        Commands::run(&commands.power_off)?;
        Commands::run(&commands.power_on)
    }
}

/// Whether every thread of a process is stopped, or in a system call that waits for a disk.
fn is_frozen(id: u32) -> Result<bool> {
    for thread in std::fs::read_dir(format!("/proc/{id}/task"))? {
        let Ok(status) = std::fs::read_to_string(thread?.path().join("stat")) else { continue };
        let state = status.rsplit_once(") ").and_then(|(_, fields)| fields.chars().next());
        if !matches!(state, Some('T' | 'D' | 'Z')) {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Drop for Server {
    fn drop(&mut self) {
        // After a failure; where it has ended already this does nothing.
        self.kill();
        let _ = self.child.wait();
    }
}
