//! Transactions on a real cluster, whichever `OTTLA_TEST_BOOTSTRAP` names (`kafka.sh` beside this folder starts an Apache
//! Kafka for it). Without it the suite says that it is skipped.

mod scenarios;

use ottla_client::{Client, ClientConfig};

async fn client() -> Option<Client> {
    let Ok(bootstrap) = std::env::var("OTTLA_TEST_BOOTSTRAP") else {
        eprintln!("skipped: OTTLA_TEST_BOOTSTRAP names no cluster");
        return None;
    };
    let config = ClientConfig { bootstrap_servers: vec![bootstrap], ..ClientConfig::default() };
    Some(Client::connect(config).await.unwrap())
}

macro_rules! on_the_cluster {
    ($($scenario:ident)*) => {$(
        #[tokio::test]
        async fn $scenario() {
            if let Some(client) = client().await {
                scenarios::$scenario(&client).await;
            }
        }
    )*};
}

on_the_cluster! {
    what_is_committed_is_read_and_what_is_aborted_is_not
    records_and_the_offsets_they_came_from_are_written_together
    a_later_producer_of_the_same_id_fences_the_one_before
    a_record_that_cannot_be_written_fails_its_transaction_and_no_other
    a_member_that_the_group_does_not_know_commits_nothing
    calls_in_a_wrong_order_are_refused_and_change_nothing
    a_transaction_that_takes_too_long_is_aborted
}
