//! The file, and where in it a value stands.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;

/// A file is no longer than this.
const MOST: u64 = 1 << 20;

/// Who says a value, for what is said of it.
#[derive(Clone, Debug, Default)]
pub enum Origin {
    /// The command line.
    #[default]
    Flags,
    /// A table of a file.
    File(Arc<Places>, String),
}

/// Where the values of a file stand.
#[derive(Debug)]
pub struct Places {
    file: String,
    /// Line and column, counted from 1, by the value's path: `listener.0.cert.1`.
    places: HashMap<String, (usize, usize)>,
}

/// Two configurations that say the same are the same, whoever says it.
impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Origin {
    /// What the value at `key` is called, such as `cert.1` for the second of a list: the flag with its value, or its place
    /// in the file.
    pub fn name(&self, key: &str, value: impl fmt::Display) -> String {
        let last = key.rsplit('.').find(|part| part.parse::<usize>().is_err());
        match self {
            Self::Flags => format!("{} {value}", self.place(key)),
            Self::File(..) => format!("{}: {} = {value}", self.place(key), last.unwrap_or(key)),
        }
    }

    /// The same without its value.
    pub fn place(&self, key: &str) -> String {
        match self {
            Self::Flags => {
                let flag = key.split('.').next().unwrap_or(key);
                format!("--{}", flag.replace('_', "-"))
            }
            Self::File(places, table) => {
                let path = if table.is_empty() {
                    key.to_owned()
                } else {
                    format!("{table}.{key}")
                };
                // What is not said has the place of its table.
                let mut path = path.as_str();
                let place = loop {
                    match (places.places.get(path), path.rsplit_once('.')) {
                        (Some(place), _) => break *place,
                        (None, Some((table, _))) => path = table,
                        (None, None) => break (1, 1),
                    }
                };
                format!("{}:{}:{}", places.file, place.0, place.1)
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flags => f.write_str("the command line"),
            Self::File(places, _) => f.write_str(&places.file),
        }
    }
}

impl Config {
    /// Reads a file, and checks it.
    ///
    /// # Errors
    /// It cannot be read, is no TOML, or a value is at fault: the text has line, column, culprit and remedy.
    pub fn read(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let metadata = std::fs::metadata(path);
        let len = metadata
            .with_context(|| format!("{file}: cannot be read"))?
            .len();
        ensure!(
            len <= MOST,
            "{file}: it is longer than 1 MiB, so no configuration; name that file"
        );
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{file}: cannot be read"))?;
        Self::parse(&file, &text)
    }

    fn parse(file: &str, text: &str) -> Result<Self> {
        let at_fault = |error: toml::de::Error| {
            let (line, column) = line_and_column(text, error.span().map_or(0, |span| span.start));
            anyhow!("{file}:{line}:{column}: {}", error.message().trim_end())
        };
        let mut config: Self = toml::from_str(text).map_err(at_fault)?;
        let table = DeTable::parse(text).map_err(at_fault)?;
        let mut places = HashMap::new();
        walk_table(text, "", table.get_ref(), &mut places);
        let places = Arc::new(Places {
            file: file.to_owned(),
            places,
        });
        config.origin = Origin::File(Arc::clone(&places), String::new());
        for (at, listener) in config.listener.iter_mut().enumerate() {
            listener.origin = Origin::File(Arc::clone(&places), format!("listener.{at}"));
        }
        config.check()?;
        Ok(config)
    }
}

fn walk_table(
    text: &str,
    path: &str,
    table: &DeTable<'_>,
    places: &mut HashMap<String, (usize, usize)>,
) {
    for (key, value) in table {
        let key = key.get_ref();
        let path = if path.is_empty() {
            key.to_string()
        } else {
            format!("{path}.{key}")
        };
        walk(text, &path, value, places);
    }
}

fn walk(
    text: &str,
    path: &str,
    value: &Spanned<DeValue<'_>>,
    places: &mut HashMap<String, (usize, usize)>,
) {
    places.insert(path.to_owned(), line_and_column(text, value.span().start));
    match value.get_ref() {
        DeValue::Table(table) => walk_table(text, path, table, places),
        DeValue::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                walk(text, &format!("{path}.{at}"), item, places);
            }
        }
        _ => {}
    }
}

/// Of the byte at `offset`, counted from 1; columns in characters.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_named_by_flag_or_place() {
        let flags = Origin::Flags;
        assert_eq!(flags.name("client_ca", "x"), "--client-ca x");
        assert_eq!(flags.name("cert.1", "x"), "--cert x");
        let text = "device = \"soft\"\n[[listener]]\nlisten = \"[::1]:0\"\ncert = [\"a\",\n  \"b\"]\nkey = [\"a\", \"b\"]\n";
        let config = Config::parse("file", text).unwrap();
        assert_eq!(
            config.origin.name("device", "soft"),
            "file:1:10: device = soft"
        );
        let listener = &config.listener[0].origin;
        assert_eq!(listener.name("cert.1", "b"), "file:5:3: cert = b");
        assert_eq!(listener.place("tls"), listener.place("alpn.3"));
    }
}
