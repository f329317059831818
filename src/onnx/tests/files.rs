//! Where the library is found, and what is no library.

use std::fs;
use std::path::Path;

use crate::onnx::{Library, Places};

fn touch(file: &Path) {
    fs::create_dir_all(file.parent().expect("below a folder")).expect("folder");
    fs::write(file, "not a library").expect("file");
}

fn found(places: &Places, root: &Path) -> String {
    match places.find() {
        Ok(found) => found.strip_prefix(root).expect("below the root").display().to_string(),
        Err(error) => error.to_string(),
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_first_place_that_has_one_wins() {
    let root = tempfile::tempdir().expect("folder");
    let root = fs::canonicalize(root.path()).expect("there");
    let mut places =
        Places { beside: Some(root.join("bin")), python: Some(root.join("venv")), ..Places::default() };
    let reason = found(&places, &root);
    assert!(
        reason.contains("no ONNX Runtime library") && reason.contains("pip install onnxruntime"),
        "{reason}"
    );
    assert!(reason.contains(&root.join("venv").display().to_string()), "{reason}");

    let capi = "venv/lib/python3.11/site-packages/onnxruntime/capi";
    for name in ["libonnxruntime.so.1.9.0", "libonnxruntime.so.1.22.1", "libonnxruntime_providers_shared.so"]
    {
        touch(&root.join(capi).join(name));
    }
    assert_eq!(found(&places, &root), format!("{capi}/libonnxruntime.so.1.22.1"));
    touch(&root.join("bin/libonnxruntime.so"));
    touch(&root.join("bin/libonnxruntime.so.txt"));
    assert_eq!(found(&places, &root), "bin/libonnxruntime.so");
    touch(&root.join("named.so"));
    places.named = Some(root.join("named.so"));
    assert_eq!(found(&places, &root), "named.so");
    touch(&root.join("configured.so"));
    places.configured = Some(root.join("configured.so"));
    assert_eq!(found(&places, &root), "configured.so");
    // One that is named is never replaced by another.
    places.configured = Some(root.join("gone.so"));
    let reason = found(&places, &root);
    assert!(
        reason.contains("gone.so: not an ONNX Runtime library that can be used: No such file"),
        "{reason}"
    );
}

/// Holds whether or not another test of this process has loaded the real one.
#[test]
fn what_is_no_library_is_refused() {
    let root = tempfile::tempdir().expect("folder");
    let file = root.path().join("libonnxruntime.so");
    touch(&file);
    let places = Places { configured: Some(file), ..Places::default() };
    let reason = Library::load(&places).expect_err("a text is no library").to_string();
    assert!(reason.contains("libonnxruntime.so"), "{reason}");
}
