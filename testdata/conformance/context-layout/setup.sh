mkdir -p layout/blobs/sha256 root
echo a > root/a
blob() {
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    size=$(wc -c < "$1")
    mv "$1" "layout/blobs/sha256/$digest"
}
tar --owner=0 --group=0 --numeric-owner -cf layer -C root a
blob layer
layer=$digest layer_size=$size
printf '{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin","KEY=value"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$layer" > config
blob config
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%s}]}' "$digest" "$size" "$layer" "$layer_size" > manifest
blob manifest
printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"org.opencontainers.image.ref.name":"one"}}]}' "$digest" "$size" > layout/index.json
printf '{"imageLayoutVersion":"1.0.0"}' > layout/oci-layout
rm -r root
