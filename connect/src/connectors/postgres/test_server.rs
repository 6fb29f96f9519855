//! A real PostgreSQL of its own, shared by the tests that run at the same time, which ends with the last of them.

use std::ffi::OsString;
use std::net::TcpListener;
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
    port: u16,
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
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files =
            [("server.crt", certificate.cert.pem()), ("server.key", certificate.signing_key.serialize_pem())];
        for (name, text) in files {
            let path = data.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            if own == 0 {
                chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        let mut sockets = OsString::from("unix_socket_directories=");
        sockets.push(dir.path());
        // Whoever takes the port in between makes the server end at once: then another.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut postgres = command("postgres");
            postgres.arg("-D").arg(&data).arg("-c").arg(&sockets).args(["-p", &port.to_string()]);
            postgres.args(["-c", "listen_addresses=127.0.0.1", "-c", "ssl=on"]);
            postgres.args(["-c", "fsync=off", "-c", "max_connections=200"]);
            let mut process = postgres.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let ready = data.join("postmaster.pid");
            let deadline = Instant::now() + Duration::from_secs(60);
            while process.try_wait().unwrap().is_none() {
                assert!(Instant::now() < deadline, "PostgreSQL does not start");
                if std::fs::read_to_string(&ready)
                    .is_ok_and(|text| text.lines().any(|line| line.trim() == "ready"))
                {
                    return TestServer { dir, process, port };
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        panic!("PostgreSQL does not start");
    }

    fn url(&self, database: &str) -> String {
        format!("host={} port={} user=postgres dbname={database}", self.dir.path().display(), self.port)
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

    /// By TCP and TLS.
    pub(super) fn tls_url(&self, host: &str) -> String {
        format!("postgres://postgres@{host}:{}/{}?sslmode=require", self.server.port, self.name)
    }

    /// The certificate that the server has, which is its own authority.
    pub(super) fn certificate(&self) -> PathBuf {
        self.server.dir.path().join("data/server.crt")
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
