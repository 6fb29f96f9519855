//! `ottla sql`: statements to a server, or a query that this process runs over any cluster's topics.

mod history;
mod print;
mod server;
mod shell;

use std::io::{IsTerminal, Read};

use crate::cli::SqlArguments;
use crate::failure::Failure;
use server::Server;

pub async fn run(arguments: SqlArguments) -> Result<(), Failure> {
    let (place, text) = match (&arguments.execute, &arguments.file) {
        (Some(text), _) => ("-e".to_owned(), Some(text.clone())),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::wrong_words(format!("{}: {error}", path.display())))?;
            (path.display().to_string(), Some(text))
        }
        (None, None) if !std::io::stdin().is_terminal() => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            ("standard input".to_owned(), Some(text))
        }
        (None, None) => (String::new(), None),
    };
    let is_direct =
        !arguments.cluster.bootstrap_server.is_empty() || arguments.cluster.command_config.is_some();
    match text {
        Some(text) if is_direct => history::run(&arguments, &place, &text).await,
        Some(text) => Server::at(&arguments.http)?.run(&place, &text, arguments.output).await,
        None if is_direct => Err(Failure::wrong_words(
            "give the statements with -e or -f; the shell is of a server, which --http names",
        )),
        None => shell::run(Server::at(&arguments.http)?, arguments.output).await,
    }
}
