//! Texts that tests expect, in files that one variable rewrites: `LB_UPDATE_GOLDEN=1 cargo test`.

use std::path::Path;

/// Compares with the file (a path from the crate's root), or rewrites it.
pub(crate) fn check(file: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("LB_UPDATE_GOLDEN").is_some() {
        let directory = path.parent().expect("a directory");
        std::fs::create_dir_all(directory).expect("a directory");
        std::fs::write(&path, actual).expect("a file that may be written");
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{file} is not what it should be; `LB_UPDATE_GOLDEN=1 cargo test` rewrites it.\n--- is\n{expected}--- should be\n{actual}"
    );
}
