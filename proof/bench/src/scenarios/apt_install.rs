use super::Scenario;
use super::install::{Install, OUT, Recipe, download};
use crate::area::Area;
use crate::base::DEBIAN;
use crate::error::Error;
use crate::mirror::Mirror;

/// Makes a repository of the packages that git needs, as they are installed on a Debian that
/// has nothing. What apt would write into an index is known from the packages themselves.
const REPOSITORY: &str = r#"
set -e
apt-get update
apt-get install --yes --no-install-recommends --download-only git
mkdir "$OUT"
for archive in /var/cache/apt/archives/*.deb; do
    name=${archive##*/}
    # Versions may have characters that addresses have not.
    package=$OUT/${name%%_*}.deb
    mv "$archive" "$package"
    dpkg-deb --field "$package"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' \
        "${package##*/}" "$(stat -c %s "$package")" "$(sha256sum "$package" | cut -d ' ' -f 1)"
done >"$OUT/Packages"
"#;

/// `apt-get install git`, from a repository that holds just that.
pub(super) fn prepare(area: &Area) -> Result<Box<dyn Scenario + '_>, Error> {
    let packages = download(area, DEBIAN, &format!("OUT={OUT}\n{REPOSITORY}"))?;
    let mirror = Mirror::of(&packages)?;
    let recipe = Recipe {
        title: "apt-get update and install git on Debian",
        base: DEBIAN,
        files: vec![
            (
                "/etc/apt/sources.list",
                format!("deb [trusted=yes] {} ./\n", mirror.address()),
            ),
            // Whatever proxy the image was made with, it does not lead here.
            (
                "/etc/apt/apt.conf.d/zz-loopback",
                "Acquire::http::Proxy::127.0.0.1 \"DIRECT\";\n".to_owned(),
            ),
        ],
        command_line: "rm -rf /etc/apt/sources.list.d/* && apt-get update && \
                       DEBIAN_FRONTEND=noninteractive \
                       apt-get install --yes --no-install-recommends git && git --version"
            .to_owned(),
        evidence: (
            "/var/lib/dpkg/status",
            "Package: git\nStatus: install ok installed\n",
        ),
    };
    Install::prepare(area, recipe, mirror)
}
