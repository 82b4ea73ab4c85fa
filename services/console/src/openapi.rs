//! The contract of the operator API as an OpenAPI document.

use serde_json::Value;

/// The document, for this release.
pub(crate) fn document(version: &str) -> Value {
    // A test reads it, so a fault in the file cannot reach a release.
    let mut document: Value =
        serde_json::from_str(include_str!("openapi.json")).unwrap_or_default();
    document["info"]["version"] = version.into();
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_whole() {
        let document = document("1.2.3");
        assert_eq!(document["info"]["version"], "1.2.3");
        let text = document.to_string();
        let mut references = 0;
        for reference in text.split(r##""$ref":"#"##).skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
            references += 1;
        }
        assert!(references > 10);
    }

    #[test]
    fn every_route_is_described() {
        let document = document("1");
        let routes = include_str!("routes.rs");
        let mut described = 0;
        for call in ["read(\"", "order(\""] {
            for rest in routes.split(call).skip(1) {
                let path = rest.split('"').next().unwrap();
                if path.starts_with("/console.") || ["/docs", "/openapi.json"].contains(&path) {
                    continue;
                }
                assert!(document["paths"][path].is_object(), "{path}");
                described += 1;
            }
        }
        assert!(described > 10);
    }
}
