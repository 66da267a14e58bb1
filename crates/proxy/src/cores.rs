//! Lists of cores as in `taskset -c`: `1`, `1,3`, `1-3`, `0,2-4`; or `auto`.

use anyhow::{Context, Result, ensure};

/// Cores in the order they are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores(pub Vec<usize>);

impl Cores {
    /// Those that the kernel leaves alone, whichever these are.
    pub fn auto() -> Self {
        Self(Vec::new())
    }
}

/// The cores that the kernel puts no work on by itself and that this process may use; `None` if there are none.
pub fn isolated() -> Option<Vec<usize>> {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/isolated").ok()?;
    let Cores(mut isolated) = list.trim().parse().ok()?;
    let usable = core_affinity::get_core_ids()?;
    isolated.retain(|core| usable.iter().any(|usable| usable.id == *core));
    (!isolated.is_empty()).then_some(isolated)
}

impl std::str::FromStr for Cores {
    type Err = anyhow::Error;

    fn from_str(list: &str) -> Result<Self> {
        let mut cores = Vec::new();
        if list == "auto" {
            return Ok(Self::auto());
        }
        for part in list.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| {
                text.trim()
                    .parse::<usize>()
                    .with_context(|| format!("{text:?} is no core number; write e.g. 1 or 1-3"))
            };
            let (first, last) = (number(first)?, number(last)?);
            ensure!(
                first <= last,
                "core range {part:?} runs backwards; write {last}-{first}"
            );
            ensure!(
                last < 4096,
                "core {last} is out of range; cores are numbered from 0, below 4096"
            );
            cores.extend(first..=last);
        }
        Ok(Self(cores))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges() {
        let cores = |list: &str| {
            list.parse::<Cores>()
                .map(|cores| cores.0)
                .map_err(|error| error.to_string())
        };
        assert_eq!(cores("1"), Ok(vec![1]));
        assert_eq!(cores("0,2-4"), Ok(vec![0, 2, 3, 4]));
        assert!(cores("x").unwrap_err().contains("\"x\""));
        assert!(cores("3-1").unwrap_err().contains("backwards"));
        assert!(cores("99999").unwrap_err().contains("out of range"));
        assert!(cores("").is_err());
        assert_eq!("auto".parse::<Cores>().unwrap(), Cores::auto());
    }
}
