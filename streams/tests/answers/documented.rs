//! Every example of docs/sql.md can be run.

use ottla_streams::sql::{Statement, parse};
use ottla_streams::{Catalog, plan};

const PAGE: &str = include_str!("../../../docs/sql.md");

#[test]
fn every_example_of_the_page_is_planned() {
    let mut examples = 0;
    let mut catalog = Catalog::new();
    for block in PAGE.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        for statement in parse(block).unwrap_or_else(|error| panic!("{} {error}\n{block}", error.position)) {
            if let Statement::CreateStream(create) = statement {
                catalog.declare(create).unwrap();
            }
        }
        for query in block
            .split(";\n")
            .filter(|text| text.trim_start().starts_with("SELECT") && !text.contains("LIMIT"))
        {
            plan(query, &catalog).unwrap_or_else(|error| panic!("{} {error}\n{query}", error.position));
            examples += 1;
        }
    }
    assert!(examples >= 12, "{examples}");
}
