//! Random queries as trees, so that a failing one can be made simpler.

use crate::harness::Random;

/// A relation with the columns k, v, f, d and ts: a text with a `$` for each relation it is made of.
#[derive(Clone, Debug)]
pub struct Relation {
    text: String,
    inputs: Vec<Relation>,
}

impl Relation {
    fn source(stream: &str) -> Relation {
        Relation { text: format!("(SELECT k, v, f, d, ts FROM {stream})"), inputs: Vec::new() }
    }

    fn random(random: &mut Random, depth: u64) -> Relation {
        if depth == 0 {
            return Relation::source(random.pick(&["s", "t"]));
        }
        let inner = Relation::random(random, depth - 1);
        let one = |text: String| Relation { text, inputs: vec![inner.clone()] };
        match random.below(8) {
            0 => one(format!(
                "(SELECT * FROM $ WHERE {})",
                random.pick(&[
                    "v > 2",
                    "k <> 'k1'",
                    "v % 2 = 0 OR f < 1",
                    "k IS NULL OR d > 0",
                    "NOT (f >= 2.5)"
                ])
            )),
            1 => {
                let other = Relation::random(random, depth - 1);
                let text = "(SELECT * FROM $ UNION ALL SELECT k, v + 1, f, d, ts FROM $)".to_owned();
                Relation { text, inputs: vec![inner, other] }
            }
            2 => one(format!(
                "(SELECT a.k, COALESCE(b.n, a.v) AS v, a.f, a.d, a.ts FROM $ AS a {} JOIN u AS b ON a.k = b.k{})",
                random.pick(&["LEFT", "INNER"]),
                random.pick(&["", " AND a.v < b.n", " AND b.n IS NOT NULL"])
            )),
            3 => one(format!(
                "(SELECT k, v, f, d, ts FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY {} ORDER BY {}) AS rn FROM $) \
                 WHERE rn <= {})",
                random.pick(&["k", "k, v % 2"]),
                random.pick(&[
                    "ts DESC, v, f, d, k",
                    "v DESC NULLS LAST, f DESC, d, ts, k",
                    "d, k DESC, v NULLS FIRST, f, ts"
                ]),
                random.within(1, 4)
            )),
            4 => one(format!(
                "(SELECT k, MAX(v) AS v, SUM(f) AS f, CAST(SUM(d) AS DECIMAL(10, 2)) AS d, MIN(ts) AS ts FROM $ GROUP BY k, {})",
                random.pick(&["v % 3", "ts", "f > 0"])
            )),
            5 => one("(SELECT k, unnest(make_array(v, v + 1, 5)) AS v, f, d, ts FROM $)".to_owned()),
            6 => one(format!(
                "(SELECT a.k, b.w AS v, a.f, a.d, a.ts FROM $ AS a JOIN r AS b ON a.k = b.k AND a.v {} b.w)",
                random.pick(&[">", "=", "<>"])
            )),
            _ => Relation {
                text: format!(
                    "(SELECT a.k, a.v + b.w AS v, a.f, a.d, b.ts FROM s AS a JOIN r AS b ON a.k = b.k \
                     AND a.ts BETWEEN b.ts - INTERVAL '{}' SECOND AND b.ts + INTERVAL '{}' SECOND)",
                    random.below(9),
                    random.below(9)
                ),
                inputs: Vec::new(),
            },
        }
    }

    fn sql(&self) -> String {
        let mut pieces = self.text.split('$');
        let mut sql = pieces.next().unwrap_or_default().to_owned();
        for (input, piece) in self.inputs.iter().zip(pieces) {
            sql.push_str(&input.sql());
            sql.push_str(piece);
        }
        sql
    }

    /// Relations with less in them.
    fn simpler(&self) -> Vec<Relation> {
        let mut simpler = self.inputs.clone();
        if !self.inputs.is_empty() || self.text.contains("JOIN") {
            simpler.extend(["s", "t"].map(Relation::source));
        }
        for (place, input) in self.inputs.iter().enumerate() {
            for input in input.simpler() {
                let mut one = self.clone();
                one.inputs[place] = input;
                simpler.push(one);
            }
        }
        simpler
    }
}

const AGGREGATES: [&str; 26] = [
    "COUNT(*)",
    "COUNT(v)",
    "COUNT(*) FILTER (WHERE v > 3)",
    "COUNT(DISTINCT v)",
    "COUNT(DISTINCT v) FILTER (WHERE f > 0)",
    "SUM(v)",
    "SUM(f)",
    "SUM(d)",
    "SUM(DISTINCT v)",
    "SUM(v) FILTER (WHERE k IS NOT NULL)",
    "AVG(v)",
    "AVG(f)",
    "AVG(d)",
    "MIN(v)",
    "MAX(v)",
    "MIN(f)",
    "MAX(d)",
    "MAX(k)",
    "MIN(ts) FILTER (WHERE v < 5)",
    "FIRST_VALUE(v ORDER BY ts, v, f)",
    "LAST_VALUE(v ORDER BY v NULLS FIRST, f)",
    "array_to_string(ARRAY_AGG(v ORDER BY v), '-')",
    "array_to_string(array_sort(ARRAY_AGG(DISTINCT v)), '-')",
    "array_to_string(array_sort(ARRAY_AGG(v) FILTER (WHERE v IS NOT NULL)), '-')",
    "bool_or(v > 5)",
    "median(v)",
];

/// A query whose result has a key.
#[derive(Clone, Debug)]
pub enum Query {
    /// Exactly this text.
    Text(String),
    /// The first rows of each `k`, numbered, of which the condition takes some.
    Numbered(&'static str, Relation),
    /// `SELECT DISTINCT`.
    Distinct(Relation),
    /// Groups.
    Grouped {
        /// What is asked of each.
        calls: Vec<&'static str>,
        /// What they are by.
        by: Vec<&'static str>,
        /// The condition on groups, or nothing.
        having: &'static str,
        /// What is grouped.
        of: Relation,
    },
}

impl Query {
    /// Any query.
    pub fn random(random: &mut Random) -> Query {
        let depth = random.below(4);
        let of = Relation::random(random, depth);
        match random.below(6) {
            0 => Query::Numbered(random.pick(&["<= 3", "= 1", "< 3", "BETWEEN 2 AND 3"]), of),
            1 => Query::Distinct(of),
            _ => {
                let count = 1 + random.below(4);
                let calls = (0..count).map(|_| random.pick(&AGGREGATES)).collect();
                let by = match random.below(4) {
                    0 => vec!["k"],
                    1 => vec!["k", "v % 2"],
                    2 => Vec::new(),
                    _ => vec!["upper(k)"],
                };
                let having = random.pick(&[
                    "",
                    "",
                    " HAVING COUNT(*) > 2",
                    " HAVING MIN(v) < 3 OR COUNT(DISTINCT v) = 2",
                ]);
                let having = if by.is_empty() { "" } else { having };
                Query::Grouped { calls, by, having, of }
            }
        }
    }

    /// Its text.
    pub fn sql(&self) -> String {
        match self {
            Query::Text(sql) => sql.clone(),
            Query::Numbered(numbers, of) => format!(
                "SELECT k, v, f, d, ts, rn FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY v DESC, f, d, ts) \
                 AS rn FROM {}) WHERE rn {numbers}",
                of.sql()
            ),
            Query::Distinct(of) => format!("SELECT DISTINCT k, v % 3 AS m FROM {}", of.sql()),
            Query::Grouped { calls, by, having, of } => {
                let by_items = by.iter().enumerate().map(|(number, by)| format!("{by} AS g{number}"));
                let calls = calls.iter().enumerate().map(|(number, call)| format!("{call} AS a{number}"));
                let items: Vec<String> = by_items.chain(calls).collect();
                let group =
                    if by.is_empty() { String::new() } else { format!(" GROUP BY {}", by.join(", ")) };
                format!("SELECT {} FROM {}{group}{having}", items.join(", "), of.sql())
            }
        }
    }

    /// Queries with less in them.
    pub fn simpler(&self) -> Vec<Query> {
        match self {
            Query::Text(_) => Vec::new(),
            Query::Numbered(numbers, of) => {
                of.simpler().into_iter().map(|of| Query::Numbered(numbers, of)).collect()
            }
            Query::Distinct(of) => of.simpler().into_iter().map(Query::Distinct).collect(),
            Query::Grouped { calls, by, having, of } => {
                let of_simpler = of.simpler().into_iter().map(|of| (calls.clone(), by.clone(), *having, of));
                let mut simpler: Vec<_> = of_simpler.collect();
                if !having.is_empty() {
                    simpler.push((calls.clone(), by.clone(), "", of.clone()));
                }
                for dropped in (0..calls.len()).filter(|_| calls.len() > 1) {
                    let mut calls = calls.clone();
                    calls.remove(dropped);
                    simpler.push((calls, by.clone(), *having, of.clone()));
                }
                if by.len() > 1 {
                    simpler.push((calls.clone(), by[..1].to_vec(), *having, of.clone()));
                }
                simpler
                    .into_iter()
                    .map(|(calls, by, having, of)| Query::Grouped { calls, by, having, of })
                    .collect()
            }
        }
    }
}
