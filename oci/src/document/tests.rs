use super::*;

fn digest(name: &str) -> Sha256 {
    Sha256::of(name.as_bytes())
}

#[test]
fn an_ambiguous_document_is_refused() {
    let blob = format!(r#"{{"mediaType":"x","digest":"{}","size":1}}"#, digest("b"));
    let image = format!(r#"{{"schemaVersion":2,"config":{blob},"layers":[{blob}]}}"#);
    let typed = |inside: &str| image.replacen('{', &format!(r#"{{"mediaType":"{inside}","#), 1);
    let both = image.replacen('{', r#"{"manifests":[],"#, 1);
    let twice = image.replacen('{', &format!(r#"{{"layers":[{blob}],"#), 1);
    let parse = |text: &str, served_as: Option<&str>| Document::parse(text.as_bytes(), served_as);

    for served_as in [
        None,
        Some("text/plain"),
        Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"),
    ] {
        let manifest = parse(&image, served_as).unwrap();
        assert_eq!(manifest.media_type(), media_type::OCI_MANIFEST);
    }
    let docker = parse(&typed(media_type::DOCKER_MANIFEST), None).unwrap();
    assert_eq!(docker.media_type(), media_type::DOCKER_MANIFEST);

    assert!(matches!(
        parse(&both, None),
        Err(InvalidDocument::Ambiguous(_))
    ));
    assert!(matches!(
        parse(&twice, None),
        Err(InvalidDocument::Syntax { .. })
    ));
    assert!(matches!(
        parse(
            &typed(media_type::OCI_MANIFEST),
            Some(media_type::DOCKER_MANIFEST)
        ),
        Err(InvalidDocument::MediaType { .. })
    ));
    assert!(matches!(
        parse(&image, Some(media_type::OCI_INDEX)),
        Err(InvalidDocument::Syntax { .. })
    ));
    assert!(matches!(
        parse("{\"schemaVersion\":2}", None),
        Err(InvalidDocument::Untyped(_))
    ));
}

#[test]
fn an_index_that_is_an_image_too_is_refused() {
    let blob = format!(r#"{{"mediaType":"x","digest":"{}","size":1}}"#, digest("b"));
    for member in [
        format!(r#""config":{blob}"#),
        format!(r#""layers":[{blob}]"#),
    ] {
        let text = format!(r#"{{"schemaVersion":2,"manifests":[],{member}}}"#);
        assert!(
            matches!(
                Document::parse(text.as_bytes(), None),
                Err(InvalidDocument::Ambiguous(_))
            ),
            "{text}"
        );
    }
}

#[test]
fn an_index_keeps_platforms_that_are_given() {
    let entry = |platform: &str| {
        format!(
            r#"{{"mediaType":"{}","digest":"{}","size":1,"platform":{platform}}}"#,
            media_type::OCI_MANIFEST,
            digest("m")
        )
    };
    for (platform, expected) in [
        ("null", None),
        ("{}", None),
        (r#"{"os":"","architecture":""}"#, None),
        (
            r#"{"os":"linux","architecture":"s390x"}"#,
            Some("linux/s390x"),
        ),
    ] {
        let text = format!(r#"{{"manifests":[{}]}}"#, entry(platform));
        let Document::Index(index) = Document::parse(text.as_bytes(), None).unwrap() else {
            panic!("not an index: {text}");
        };
        let found = index.manifests[0]
            .platform
            .as_ref()
            .map(Platform::to_string);
        assert_eq!(found.as_deref(), expected, "{platform}");
    }
}

#[test]
fn schema_1_is_refused_by_name() {
    for (text, served_as) in [
        (r#"{"schemaVersion":1,"name":"x","fsLayers":[]}"#, None),
        (
            "{}",
            Some("application/vnd.docker.distribution.manifest.v1+prettyjws"),
        ),
    ] {
        let error = Document::parse(text.as_bytes(), served_as).unwrap_err();
        assert!(matches!(error, InvalidDocument::Schema1(_)), "{error}");
    }
}
