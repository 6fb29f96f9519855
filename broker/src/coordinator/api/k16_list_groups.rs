//! ListGroups v0–5. v4 filter by state (KIP-518), v5 filter by type (KIP-848).

use ottla_protocol::messages::k16_list_groups::ListedGroup as ListedGroupResponse;
use ottla_protocol::messages::{ListGroupsRequest, ListGroupsResponse};
use ottla_protocol::{ErrorCode, Str};

use super::{Caller, text};
use crate::coordinator::GroupCoordinator;
use crate::groups::{ListedGroup, Reply, Request};

impl GroupCoordinator {
    /// Every group of this broker. Starts shards that nobody has asked yet, since their logs may hold groups.
    pub async fn list_groups(&self, _caller: &Caller, request: &ListGroupsRequest) -> ListGroupsResponse {
        let mut response = ListGroupsResponse::default();
        for reply in self.ask_all(|| Request::ListGroups).await {
            match reply {
                Reply::ListGroups(Ok(groups)) => {
                    let groups = groups.into_iter().filter(|group| {
                        passes(&request.types_filter, group.group_type.as_str())
                            && passes(&request.states_filter, group.state)
                    });
                    response.groups.extend(groups.map(to_response));
                }
                // Groups of the other partitions are told all the same; the code says that some are missing.
                Reply::ListGroups(Err(error)) => response.error_code = ErrorCode::from(error).code(),
                other => unreachable!("a shard answers what it was asked, not {other:?}"),
            }
        }
        response
    }
}

fn passes(filter: &[Str], word: &str) -> bool {
    filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(word))
}

fn to_response(group: ListedGroup) -> ListedGroupResponse {
    ListedGroupResponse {
        group_id: text(group.group.as_str()),
        protocol_type: text(&group.protocol_type),
        group_state: text(group.state),
        group_type: text(group.group_type.as_str()),
    }
}
