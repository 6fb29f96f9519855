//! A real PostgreSQL of its own, shared by the tests that run at the same time, which ends with the last of them.

use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

/// PostgreSQL does not run as root; it runs as nobody then.
const NOBODY: u32 = 65_534;

/// A cluster of databases.
pub(super) struct TestServer {
    dir: tempfile::TempDir,
    process: Child,
}

/// A database of a test.
pub(super) struct TestDatabase {
    server: Arc<TestServer>,
    name: String,
}

static RUNNING: Mutex<Weak<TestServer>> = Mutex::new(Weak::new());
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A database, or `None` where PostgreSQL is not installed: CI fails then.
pub(super) async fn database() -> Option<TestDatabase> {
    let server = {
        let mut running = RUNNING.lock().unwrap();
        match running.upgrade() {
            Some(server) => server,
            None => {
                let Some(programs) = programs() else {
                    let reason = "PostgreSQL is not installed; scripts/setup.sh installs it";
                    assert!(std::env::var_os("CI").is_none(), "{reason}");
                    eprintln!("SKIPPED: {reason}");
                    return None;
                };
                let server = Arc::new(TestServer::start(&programs));
                *running = Arc::downgrade(&server);
                server
            }
        }
    };
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    server.client("postgres").await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    Some(TestDatabase { server, name })
}

/// Where `initdb` and `postgres` are: in the path, or where Debian has them.
fn programs() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    folders
        .into_iter()
        .rev()
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

impl TestServer {
    fn start(programs: &Path) -> TestServer {
        let dir = tempfile::tempdir().unwrap();
        let own = std::fs::metadata(dir.path()).unwrap().uid();
        let user = if own == 0 { NOBODY } else { own };
        if own == 0 {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let command = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.current_dir(dir.path()).stdin(Stdio::null());
            if own == 0 {
                command.uid(user).gid(NOBODY);
            }
            command
        };
        let data = dir.path().join("data");
        let mut initdb = command("initdb");
        initdb.args(["--auth=trust", "--username=postgres", "--no-sync", "--no-instructions"]);
        let output = initdb.args(["--encoding=UTF8", "--locale=C", "-D"]).arg(&data).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut sockets = OsString::from("unix_socket_directories=");
        sockets.push(dir.path());
        let mut postgres = command("postgres");
        postgres.arg("-D").arg(&data).arg("-c").arg(sockets);
        postgres.args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200"]);
        let process = postgres.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        TestServer { dir, process }
    }

    fn url(&self, database: &str) -> String {
        format!("host={} user=postgres dbname={database}", self.dir.path().display())
    }

    async fn client(&self, database: &str) -> Client {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match tokio_postgres::connect(&self.url(database), NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return client;
                }
                Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // SIGKILL would leave its children.
        let pid = self.process.id().to_string();
        let _ = Command::new("kill").args(["-QUIT", &pid]).status();
        let _ = self.process.wait();
    }
}

impl TestDatabase {
    pub(super) fn url(&self) -> String {
        self.server.url(&self.name)
    }

    pub(super) async fn client(&self) -> Client {
        self.server.client(&self.name).await
    }

    /// The rows of a query, each as one text.
    pub(super) async fn query(&self, sql: &str) -> Vec<String> {
        let rows = self.client().await.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get::<_, String>(0)).collect()
    }

    pub(super) async fn run(&self, sql: &str) {
        self.client().await.batch_execute(sql).await.unwrap();
    }
}
