//! `ottla config …`

use ottla_client::{Client, ConfigEntry, ConfigResource, ConfigSource};
use serde_json::json;

use super::connect;
use super::topic::parse_config;
use crate::cli::{ConfigCommand, ConfigOwner, Output};
use crate::failure::Failure;
use crate::output::{print_json, print_table};

pub async fn run(command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Describe { owner, all, output, cluster } => {
            let client = connect(&cluster).await?;
            let resource = resource(&client, owner).await?;
            let mut configs = client.admin().describe_configs(&resource).await?;
            configs.retain(|config| all || config.source != ConfigSource::Default);
            configs.sort_by(|a, b| a.name.cmp(&b.name));
            print(&configs, output)
        }
        ConfigCommand::Set { owner, configs, cluster } => {
            let edits: Vec<(String, Option<String>)> = configs
                .iter()
                .map(|config| parse_config(config).map(|(name, value)| (name, Some(value))))
                .collect::<Result<_, _>>()?;
            let client = connect(&cluster).await?;
            let resource = resource(&client, owner).await?;
            client.admin().alter_configs(&resource, &edits).await?;
            println!("set {} of {resource}", configs.join(", "));
            Ok(())
        }
        ConfigCommand::Unset { owner, configs, cluster } => {
            let edits: Vec<_> = configs.iter().map(|name| (name.clone(), None)).collect();
            let client = connect(&cluster).await?;
            let resource = resource(&client, owner).await?;
            client.admin().alter_configs(&resource, &edits).await?;
            println!("{} of {resource} is back at its default", configs.join(", "));
            Ok(())
        }
    }
}

async fn resource(client: &Client, owner: ConfigOwner) -> Result<ConfigResource, Failure> {
    match (owner.topic, owner.broker) {
        (Some(topic), _) => Ok(ConfigResource::Topic(topic)),
        (None, None) => Ok(ConfigResource::AllBrokers),
        (None, Some(id)) => {
            let brokers = client.admin().describe_cluster().await?.brokers;
            if brokers.iter().any(|broker| broker.broker_id == id) {
                return Ok(ConfigResource::Broker(id));
            }
            let known: Vec<String> = brokers.iter().map(|broker| broker.broker_id.to_string()).collect();
            Err(Failure::failed(format!("broker {id} is not in the cluster; there is {}", known.join(", "))))
        }
    }
}

fn source_name(source: ConfigSource) -> String {
    match source {
        ConfigSource::Topic => "topic".to_owned(),
        ConfigSource::DynamicBroker => "broker".to_owned(),
        ConfigSource::DynamicDefaultBroker => "all brokers".to_owned(),
        ConfigSource::StaticBroker => "start".to_owned(),
        ConfigSource::Default => "default".to_owned(),
        ConfigSource::Unknown(code) => code.to_string(),
    }
}

fn print(configs: &[ConfigEntry], output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        let configs: Vec<_> = configs
            .iter()
            .map(|config| {
                json!({ "name": config.name, "value": config.value, "source": source_name(config.source),
                        "read_only": config.is_read_only, "sensitive": config.is_sensitive })
            })
            .collect();
        return Ok(print_json(&json!(configs))?);
    }
    let rows: Vec<Vec<String>> = configs
        .iter()
        .map(|config| {
            let value = config.value.clone().unwrap_or_else(|| "-".to_owned());
            vec![config.name.clone(), value, source_name(config.source)]
        })
        .collect();
    Ok(print_table(&["config", "value", "set by"], &rows)?)
}
