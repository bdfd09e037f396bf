//! Outputs as people write them.

use kiln_engine::{BaseLayers, DanglingWhen, FileTimes, PushAs};
use kiln_oci::{Compression, Timestamp};

use super::*;

fn output(text: &str) -> Result<Output, String> {
    parse(text, StandardOutput::Other).map(|mut outputs| outputs.remove(0))
}

fn image(text: &str) -> ImageOutput {
    output(text).unwrap().image().unwrap().clone()
}

#[test]
fn short_forms_are_directories_and_tars() {
    assert_eq!(
        output("out"),
        Ok(Output::Local {
            directory: "out".into(),
            files: FilesOptions::default(),
            stale: Stale::Keep,
        })
    );
    assert_eq!(
        output("-"),
        Ok(Output::Tar {
            to: Destination::Stream,
            files: FilesOptions::default(),
        })
    );
    assert_eq!(
        parse("-", StandardOutput::Terminal),
        Err("dest file is required for tar exporter. refusing to write to console".to_owned())
    );
}

#[test]
fn long_forms_have_types_and_attributes() {
    assert_eq!(
        output("type=oci,dest=a.tar"),
        Ok(Output::Oci {
            to: Destination::Path("a.tar".into()),
            form: LayoutForm::Archive,
            image: ImageOutput::default(),
        })
    );
    assert_eq!(
        output("Type=docker,dest=dir,TAR=false,compression=uncompressed"),
        Ok(Output::Docker {
            to: Destination::Path("dir".into()),
            form: LayoutForm::Directory,
            image: ImageOutput {
                compression: Compression::None,
                ..ImageOutput::default()
            },
        })
    );
    let Ok(Output::Push(image)) =
        output(r#"type=image,push=true,"name=a,b:1",compression=zstd,compression-level=19"#)
    else {
        panic!("it is to be pushed");
    };
    let names: Vec<String> = image.names.iter().map(|name| name.familiar()).collect();
    assert_eq!(names, ["a:latest", "b:1"]);
    assert_eq!(image.level, Some(19));
    let store = Output::Store(ImageOutput::default());
    assert_eq!(output("type=docker"), Ok(store.clone()));
    assert_eq!(output("type=image"), Ok(store.clone()));
    assert_eq!(output("type=image,store=false"), Ok(Output::CacheOnly));
    assert_eq!(
        parse("type=registry,store=true", StandardOutput::Other),
        Ok(vec![Output::Push(ImageOutput::default()), store])
    );
    assert_eq!(output("type=cacheonly"), Ok(Output::CacheOnly));
    assert_eq!(
        output("type=registry"),
        Ok(Output::Push(ImageOutput::default()))
    );
}

#[test]
fn images_have_many_attributes() {
    let full = image(
        "type=image,name=h/a,push=true,push-by-digest=true,registry.insecure=true,unpack=1,\
         name-canonical=true,dangling-name-prefix=h/b,danging-name-empty-only=true,\
         rewrite-timestamp=true,source-date-epoch=7,oci-artifact=true,\
         annotation.Some.Key=v,annotation-index.k=v",
    );
    assert_eq!(full.push_as, PushAs::Digest);
    assert_eq!(full.transport, Transport::Insecure);
    assert_eq!(full.base_layers, BaseLayers::Now);
    assert_eq!(full.file_times, FileTimes::Clamp);
    assert_eq!(full.epoch, Some(Timestamp::from_seconds(7)));
    let dangling = full.dangling.unwrap();
    assert_eq!(dangling.repository.to_string(), "docker.io/h/b");
    assert_eq!(dangling.when, DanglingWhen::Unnamed);
    let keys = full
        .annotations
        .iter()
        .map(|annotation| annotation.key.as_str());
    assert_eq!(keys.collect::<Vec<_>>(), ["Some.Key", "k"]);
    let Ok(Output::Local { files, stale, .. }) =
        output("type=local,dest=x,platform-split=false,mode=delete,source-date-epoch=7")
    else {
        panic!("it is a directory");
    };
    assert_eq!((files.split, stale), (Split::Never, Stale::Delete));
    assert_eq!(files.epoch, Some(Timestamp::from_seconds(7)));
}

#[test]
fn mistakes_are_named() {
    for (text, message) in [
        ("dest=x,", "invalid value "),
        ("dest=x", "type is required for output"),
        ("type=local", "dest is required for local output"),
        (
            "type=local,dest=-",
            "dest file not supported for local exporter: -",
        ),
        (
            "type=iso",
            "exporter \"iso\" could not be found: expected local, tar, oci, docker, image, registry or cacheonly",
        ),
        (
            "type=image,push=maybe",
            "non-bool value \"maybe\" specified for push",
        ),
        (
            "type=oci,dest=-,tar=false",
            "oci exporter cannot write a directory to stdout",
        ),
        (
            "type=image,compression=zstd,oci-mediatypes=false",
            "exporter option \"compression=zstd\" conflicts with \"oci-mediatypes=false\"",
        ),
        (
            "type=image,compression=lzma",
            "unsupported layer compression type: lzma",
        ),
        (
            "type=image,compression-level=10",
            "invalid compression-level \"10\": expected 0 to 9",
        ),
        (
            "type=image,compression=estargz",
            "layer compression type estargz is not supported: gzip and zstd are",
        ),
        (
            "type=local,dest=x,mode=move",
            "invalid mode \"move\" of local output: expected copy or delete",
        ),
        (
            "type=local,dest=x,annotation.k=v",
            "attribute \"annotation\" of output type local is not supported",
        ),
        (
            "type=image,annotation-layer.k=v",
            "unknown annotation type \"layer\"",
        ),
        (
            "type=image,source-date-epoch=now",
            "invalid source-date-epoch \"now\": expected seconds since 1970",
        ),
        (
            "type=image,dangling-name-prefix=x:1",
            "invalid dangling-name-prefix \"x:1\": expected a repository without tag and \
             digest",
        ),
        (
            "type=docker,context=other",
            "attribute \"context\" of output type docker is not supported: there is no daemon \
             \"other\", the local store is the only one",
        ),
        (
            "type=oci,dest=x,platform-split=true",
            "attribute \"platform-split\" of output type oci is not supported",
        ),
    ] {
        assert_eq!(output(text), Err(message.to_owned()), "{text}");
    }
}

#[test]
fn tags_are_names_without_digests() {
    assert_eq!(parse_tag("x").unwrap().familiar(), "x:latest");
    let digest = format!("x@sha256:{}", "0".repeat(64));
    assert!(parse_tag(&digest).unwrap_err().starts_with("invalid tag"));
    assert!(parse_tag("X").unwrap_err().starts_with("invalid tag"));
}
