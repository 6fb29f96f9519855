//! The functions that SQL may call: DataFusion's, by name.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};

/// All functions by name and alias; made once, since there are about five hundred.
pub(crate) struct Functions {
    pub(crate) scalar: BTreeMap<String, Arc<ScalarUDF>>,
    pub(crate) aggregate: BTreeMap<String, Arc<AggregateUDF>>,
    pub(crate) window: BTreeMap<String, Arc<WindowUDF>>,
}

impl Functions {
    pub(crate) fn builtin() -> &'static Functions {
        static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| Functions {
            scalar: by_name(SessionStateDefaults::default_scalar_functions(), |f| (f.name(), f.aliases())),
            aggregate: by_name(SessionStateDefaults::default_aggregate_functions(), |f| {
                (f.name(), f.aliases())
            }),
            window: by_name(SessionStateDefaults::default_window_functions(), |f| (f.name(), f.aliases())),
        });
        &FUNCTIONS
    }

    /// Whether any function has this name, in lower case.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.scalar.contains_key(name) || self.aggregate.contains_key(name) || self.window.contains_key(name)
    }

    /// Every name, for suggestions.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.scalar.keys().chain(self.aggregate.keys()).chain(self.window.keys()).map(String::as_str)
    }
}

fn by_name<F>(functions: Vec<Arc<F>>, names: impl Fn(&F) -> (&str, &[String])) -> BTreeMap<String, Arc<F>> {
    let mut map = BTreeMap::new();
    for function in functions {
        let (name, aliases) = names(&function);
        for name in std::iter::once(name).chain(aliases.iter().map(String::as_str)) {
            map.insert(name.to_owned(), Arc::clone(&function));
        }
    }
    map
}
