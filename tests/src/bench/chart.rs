//! What do the ratios look like? Bars beside the floor, one picture for each hook, as SVG.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use lb_common::drops::Hook;

use super::report::Row;
use crate::topology::Family;

/// Pixels.
const WIDTH: f64 = 760.0;
const LABELS: f64 = 330.0;
const BAR: f64 = 11.0;
const GAP: f64 = 10.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 26.0;
/// For the figure behind a bar.
const FIGURE: f64 = 50.0;
const COLOURS: [(Family, &str); 2] = [(Family::V4, "#2f6fab"), (Family::V6, "#7fb069")];

/// Writes a picture of each hook's rows into the directory.
///
/// # Errors
/// It cannot be written.
pub(super) fn write(directory: &Path, rows: &[Row]) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    for hook in Hook::ALL {
        let rows: Vec<_> = rows.iter().filter(|row| row.hook == *hook).collect();
        let file = directory.join(format!("datapath-{}.svg", hook.name()));
        if !rows.is_empty() {
            fs::write(&file, picture(*hook, &rows)).with_context(|| file.display().to_string())?;
        }
    }
    Ok(())
}

/// The same packets at the same program, in either family.
type Group<'r> = Vec<&'r Row>;

fn groups<'r>(rows: &[&'r Row]) -> Vec<Group<'r>> {
    let mut groups: Vec<Group<'r>> = Vec::new();
    let of = |row: &Row| (row.case, row.packets, row.targets);
    for row in rows {
        let mut there = groups.iter_mut();
        let same = |group: &&mut Group<'_>| {
            let first = group[0];
            let is_its_own = first.program == row.program || first.family != row.family;
            of(first) == of(row) && is_its_own && group.iter().all(|one| one.family != row.family)
        };
        match there.find(same) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups
}

fn picture(hook: Hook, rows: &[&Row]) -> String {
    let groups = groups(rows);
    let most = rows.iter().map(|row| row.ratio().max(row.targets[0]));
    let most = most.fold(1.0, f64::max);
    let scale = (WIDTH - LABELS - FIGURE) / most;
    let heights = groups.iter().map(|group| f64_of(group.len()) * BAR + GAP);
    let height = TOP + heights.sum::<f64>() + BOTTOM;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let mut add = |line: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _always = writeln!(svg, "{line}");
    };
    add(format_args!(
        "<text x=\"8\" y=\"18\" font-size=\"13\">{}: cost of a packet, × its floor</text>",
        hook.name()
    ));
    let mut at = LABELS;
    for (family, colour) in COLOURS {
        add(format_args!(
            "<rect x=\"{at}\" y=\"26\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"35\">{family}</text>",
            at + 14.0
        ));
        at += 60.0;
    }
    add(format_args!(
        "<text x=\"{at}\" y=\"35\" fill=\"#b3402e\">| wanted at most</text>"
    ));
    let mut y = TOP;
    for group in &groups {
        let height = f64_of(group.len()) * BAR;
        let first = group[0];
        add(format_args!(
            "<text x=\"8\" y=\"{:.1}\">{}, {} ({})</text>",
            y + height / 2.0 + 4.0,
            first.case,
            first.packets,
            first.floor
        ));
        for (i, row) in group.iter().enumerate() {
            let colour = COLOURS.iter().find(|(family, _)| *family == row.family);
            let (colour, ratio) = (colour.map_or("#888", |(_, colour)| colour), row.ratio());
            let (top, width) = (y + f64_of(i) * BAR, ratio * scale);
            add(format_args!(
                "<rect x=\"{LABELS}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"9\">{ratio:.2}</text>",
                BAR - 1.0,
                LABELS + width + 4.0,
                top + BAR - 2.5
            ));
        }
        let wanted = LABELS + first.targets[0] * scale;
        add(format_args!(
            "<line x1=\"{wanted:.1}\" x2=\"{wanted:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#b3402e\" stroke-width=\"2\"/>",
            y - 2.0,
            y + height + 1.0
        ));
        y += height + GAP;
    }
    let floor = LABELS + scale;
    add(format_args!(
        "<line x1=\"{floor:.1}\" x2=\"{floor:.1}\" y1=\"{:.1}\" y2=\"{y:.1}\" stroke=\"#444\" stroke-dasharray=\"3 3\"/>\n\
         <text x=\"{floor:.1}\" y=\"{:.1}\" text-anchor=\"middle\">1 (the floor)</text>",
        TOP - 4.0,
        y + 12.0
    ));
    svg + "</svg>\n"
}

/// A number of rows.
fn f64_of(count: usize) -> f64 {
    super::float(count as u64)
}
