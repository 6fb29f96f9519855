//! `ottla user …`

use std::io::{BufRead, IsTerminal};

use ottla_client::security::ScramMechanism;
use serde_json::json;

use super::connect;
use crate::cli::{Output, UserCommand};
use crate::failure::Failure;
use crate::output::{print_json, print_table};

pub async fn run(command: UserCommand) -> Result<(), Failure> {
    match command {
        UserCommand::List { output, cluster } => {
            let users = connect(&cluster).await?.admin().scram_users().await?;
            let names = |mechanisms: &[ScramMechanism]| -> Vec<&str> {
                mechanisms.iter().map(|mechanism| mechanism.name()).collect()
            };
            if output == Output::Json {
                let users: Vec<_> = users
                    .iter()
                    .map(|(user, mechanisms)| json!({ "user": user, "mechanisms": names(mechanisms) }))
                    .collect();
                return Ok(print_json(&json!(users))?);
            }
            let rows: Vec<Vec<String>> = users
                .iter()
                .map(|(user, mechanisms)| vec![user.clone(), names(mechanisms).join(", ")])
                .collect();
            Ok(print_table(&["user", "mechanisms"], &rows)?)
        }
        UserCommand::SetPassword { user, mechanism, cluster } => {
            let mechanisms = mechanisms(mechanism.as_deref())?;
            let password = read_password()?;
            let client = connect(&cluster).await?;
            for mechanism in mechanisms {
                client.admin().set_scram_password(&user, mechanism, &password).await?;
                println!("user {user} has a password for {}", mechanism.name());
            }
            Ok(())
        }
        UserCommand::Delete { user, cluster } => {
            let client = connect(&cluster).await?;
            let users = client.admin().scram_users().await?;
            let (_, mechanisms) = users
                .into_iter()
                .find(|(name, _)| *name == user)
                .ok_or_else(|| Failure::failed(format!("user {user} has no password")))?;
            for mechanism in mechanisms {
                client.admin().delete_scram_password(&user, mechanism).await?;
                println!("user {user} has no password for {} any more", mechanism.name());
            }
            Ok(())
        }
    }
}

fn mechanisms(name: Option<&str>) -> Result<Vec<ScramMechanism>, Failure> {
    let Some(name) = name else { return Ok(ScramMechanism::ALL.to_vec()) };
    let found = ScramMechanism::ALL.into_iter().find(|mechanism| mechanism.name() == name);
    let wrong =
        || Failure::wrong_words(format!("--mechanism {name}: expected SCRAM-SHA-256 or SCRAM-SHA-512"));
    Ok(vec![found.ok_or_else(wrong)?])
}

/// The first line of standard input: on the command line everybody on the machine could read it.
fn read_password() -> Result<String, Failure> {
    let input = std::io::stdin();
    if input.is_terminal() {
        eprint!("password (it is shown): ");
    }
    let mut line = String::new();
    input.lock().read_line(&mut line)?;
    let password = line.trim_end_matches(['\n', '\r']);
    if password.is_empty() {
        return Err(Failure::wrong_words("the password, a line of standard input, must not be empty"));
    }
    Ok(password.to_owned())
}
