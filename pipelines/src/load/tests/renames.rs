//! Files that say what their stages were called before.

use super::*;

#[test]
fn a_rename_that_would_lose_or_share_a_place_is_told() {
    check(
        &small_with(
            "  by_city:\n    sql: |",
            "  sums:\n    renamed_from: by_city\n    to: by_city\n    sql: |",
        ),
        &["15:7 warning: "],
    );
    let text = small_with("  by_city:\n    sql: |", "  sums:\n    renamed_from: to_db\n    sql: |");
    let text = text
        .replace("  to_db:\n", "  to_db:\n    renamed_from: to_db\n")
        .replace("from: by_city", "from: sums");
    let text = text.replace("  orders_csv:\n", "  orders_csv:\n    renamed_from: a b\n");
    check(
        &text,
        &[
            "7:19 a source's name has only ASCII letters, digits, `.`, `_` and `-`",
            "13:19 two stages would go on where `to_db` was (line 19 has the sink `to_db`)",
            "13:19 the transform `sums` would write another topic than before, without what is in that (say `to: to_db`",
            "15:7 warning: ",
            "20:19 the sink `to_db` is called so now (remove `renamed_from`",
            "20:19 two stages would go on where `to_db` was (line 12 has the transform `sums`)",
        ],
    );
}
