//! Checks of the relative paths that manifests, zip entries and programs hold.

/// Checks that `text` is a plain relative path with `/` between its parts, so
/// that joining it to a folder stays in that folder on every system.
///
/// # Errors
/// The reason why it is refused.
pub(crate) fn check(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.starts_with('/') {
        return Err("it is absolute");
    }
    if text.contains('\\') {
        return Err("it holds a backslash");
    }
    if text.contains(':') {
        return Err("it holds a colon, which names a drive on some systems");
    }
    if text.contains('\0') {
        return Err("it holds a zero byte");
    }
    for part in text.split('/') {
        match part {
            ".." => return Err("`..` could leave the package"),
            "." | "" => return Err("it has an empty or `.` part"),
            _ => {}
        }
    }
    Ok(())
}

/// The folder part of a relative path, with its trailing slash; empty at the top.
pub(crate) fn folder(path: &str) -> &str {
    path.rfind('/').map_or("", |at| &path[..=at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_could_leave() {
        for bad in [
            "", "/a", "..", "a/../b", "a/..", "a\\b", "C:/a", "a//b", "a/", "./a", "a\0",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "a/b", "a..b/..c", "com.apple.CoreML/model.mlmodel"] {
            assert!(check(good).is_ok(), "{good:?}");
        }
        assert_eq!(folder("a/b/c"), "a/b/");
        assert_eq!(folder("c"), "");
    }
}
