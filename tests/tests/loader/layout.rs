//! What do the maps hold that outlive a version of `lb`? Whoever changes it takes a new number, or
//! what an older version left would be misread.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use lb_common::limits::LAYOUT_VERSION;
use lb_tests::{command, datapath};
use lb_userspace::loader::PINNED;
use serde_json::Value;

/// The layout of that version, as text.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/loader/layout.txt");

/// The file follows with `LB_UPDATE_GOLDEN=1`, but only a new version, or maps that are new: these are
/// made where they are missing, and an older `lb` leaves them alone.
#[test]
fn another_layout_has_another_version() -> Result<()> {
    let now = format!("version {LAYOUT_VERSION}\n{}", layout()?);
    let before = fs::read_to_string(FILE).unwrap_or_default();
    if now == before {
        return Ok(());
    }
    let (version, _) = now.split_once('\n').context("no lines")?;
    let differs = |one: &str, other: &str| {
        let lines = one.lines().filter(|line| !other.contains(line));
        lines.map(str::to_owned).collect::<Vec<_>>().join("\n")
    };
    let is_only_more = parts(&before).is_subset(&parts(&now));
    ensure!(
        is_only_more || !before.starts_with(&format!("{version}\n")),
        "maps of {version} are no more what they were, so LAYOUT_VERSION must be another:\n{}\nwas\n{}",
        differs(&now, &before),
        differs(&before, &now)
    );
    if std::env::var_os("LB_UPDATE_GOLDEN").is_none() {
        bail!("{FILE} is not of {version}: LB_UPDATE_GOLDEN=1 writes it");
    }
    fs::write(FILE, now).context(FILE)
}

/// Every line about maps, and every type as a whole.
fn parts(layout: &str) -> BTreeSet<&str> {
    let (maps, types) = layout.split_once("\n\n").unwrap_or((layout, ""));
    let types = types.split("\n\n").map(str::trim_end);
    maps.lines().chain(types).collect()
}

/// Every map that is pinned, and every type in it, as the object says.
fn layout() -> Result<String> {
    let object = datapath::object_file();
    let json = command::run(
        Command::new("bpftool")
            .args(["--json", "btf", "dump", "file"])
            .arg(object),
    )?;
    let json: Value = serde_json::from_str(&json)?;
    let all = json["types"].as_array().context("no types")?;
    let types = Types(
        all.iter()
            .filter_map(|one| Some((one["id"].as_u64()?, one)))
            .collect(),
    );
    let (mut maps, mut structs) = (String::new(), BTreeMap::new());
    let mut names = PINNED;
    names.sort_unstable();
    for name in names {
        let map = all
            .iter()
            .find(|one| one["kind"] == "VAR" && one["name"] == name);
        let map = map.and_then(|map| types.of(map));
        let map = map.with_context(|| format!("no map {name}"))?;
        let [kind, elements] = ["type", "max_entries"].map(|of| types.behind(map, of));
        let [key, value] = ["key", "value"].map(|of| types.behind(map, of));
        writeln!(
            maps,
            "{name}: type {}, {} elements, {} to {}",
            kind["nr_elems"],
            elements["nr_elems"],
            types.name(key, &mut structs),
            types.name(value, &mut structs)
        )?;
    }
    for (name, fields) in structs {
        write!(maps, "\n{name}\n{fields}")?;
    }
    Ok(maps)
}

/// Types of the object, by id.
struct Types<'j>(BTreeMap<u64, &'j Value>);

impl Types<'_> {
    /// The type that this one is about.
    fn of(&self, one: &Value) -> Option<&Value> {
        self.0.get(&one["type_id"].as_u64()?).copied()
    }

    /// What a map's definition points to by a field of that name.
    fn behind(&self, map: &Value, field: &str) -> &Value {
        let mut fields = map["members"].as_array().into_iter().flatten();
        let found = fields
            .find(|one| one["name"] == field)
            .and_then(|field| self.of(field))
            .and_then(|pointer| self.of(pointer));
        found.unwrap_or(&Value::Null)
    }

    /// The type's name; what a structure is made of comes into `structs`.
    fn name(&self, one: &Value, structs: &mut BTreeMap<String, String>) -> String {
        let name = one["name"].as_str().unwrap_or_default();
        match one["kind"].as_str() {
            Some("ARRAY") => {
                let item = self
                    .of(one)
                    .map_or_else(String::new, |item| self.name(item, structs));
                format!("[{item}; {}]", one["nr_elems"])
            }
            Some("STRUCT") => {
                let name = readable(name);
                let members = one["members"].as_array().into_iter().flatten();
                let fields = members.fold(String::new(), |fields, field| {
                    let of = self
                        .of(field)
                        .map_or_else(String::new, |of| self.name(of, structs));
                    let at = field["bits_offset"].as_u64().unwrap_or_default() / 8;
                    let field = field["name"].as_str().unwrap_or_default();
                    fields + &format!("  {at}: {field}: {of}\n")
                });
                structs.insert(name.clone(), fields);
                name
            }
            _ => name.to_owned(),
        }
    }
}

/// The linker writes what C knows no names for by number.
fn readable(name: &str) -> String {
    [("_3C_", "<"), ("_3E_", ">"), ("_3A_", ":"), ("_2C_", ",")]
        .into_iter()
        .fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
        .replace("lb_common::addr::", "")
}
